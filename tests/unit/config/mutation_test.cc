// Whatever happens to a file, parsing it gives a config or says why not.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "usher/base/rng.h"
#include "usher/config/config.h"

namespace usher {
namespace {

constexpr std::uint64_t first_seed = 20240611;
constexpr int mutants = 1500;

/// With the keys and tables in comments made real, so that they are mutated too, and the other comments gone.
std::string reference_without_comments() {
  std::ifstream file(USHER_SOURCE_DIR "/conf/usher.toml");
  REQUIRE(file);
  const std::regex commented(R"(^# ([a-z_]+ = .*|\[.*))");
  std::string text;
  for (std::string line; std::getline(file, line);) {
    std::smatch match;
    if (std::regex_match(line, match, commented)) line = match[1].str();
    if (line.starts_with("#")) continue;
    text += line.substr(0, line.find(" #")) + "\n";
  }
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

std::string mutate_bytes(std::string text, Rng& rng) {
  constexpr std::string_view special = "\"'[]{}=.,#\\\n\r\t\0-_0123456789eE+:\xff\xc2\x9b";
  const std::size_t at = rng.below(text.size());
  switch (rng.below(4)) {
    case 0:
      text[at] = special[rng.below(special.size())];
      break;
    case 1:
      text.insert(at, 1, special[rng.below(special.size())]);
      break;
    case 2:
      text.erase(at, 1 + rng.below(8));
      break;
    default:
      text[at] = static_cast<char>(rng.below(256));
      break;
  }
  return text.empty() ? "\n" : text;
}

std::string mutate_lines(const std::string& text, Rng& rng) {
  std::vector<std::string> lines = lines_of(text);
  if (lines.size() < 2) return text + "\n";
  const std::size_t a = rng.below(lines.size());
  const std::size_t b = rng.below(lines.size());
  const auto nth = [&](std::size_t i) { return lines.begin() + static_cast<std::ptrdiff_t>(i); };
  switch (rng.below(4)) {
    case 0:
      lines.erase(nth(a));
      break;
    case 1:
      std::swap(lines[a], lines[b]);
      break;
    case 2:
      lines.insert(nth(a), std::string(lines[b]));
      break;
    default: {  // another line's value
      const std::size_t here = lines[a].find(" = ");
      const std::size_t there = lines[b].find(" = ");
      if (here != std::string::npos && there != std::string::npos)
        lines[a] = lines[a].substr(0, here) + lines[b].substr(there);
    }
  }
  return joined(lines);
}

/// Answers whether the text was TOML at all.
bool check_answer(const std::string& text) {
  const Parsed parsed = parse_config(text, "mutant.toml");
  const auto line_count = static_cast<std::uint32_t>(std::ranges::count(text, '\n')) + 1;
  const bool failed = std::ranges::any_of(parsed.problems, [](const auto& p) { return p.severity == Severity::error; });
  REQUIRE(parsed.config.has_value() == !failed);
  for (const Diagnostic& problem : parsed.problems) {
    REQUIRE_FALSE(problem.message.empty());
    REQUIRE(problem.line <= line_count);
    const std::string shown = problem.message + problem.hint;
    REQUIRE(std::ranges::none_of(shown, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
  }
  return parsed.config || !parsed.problems.front().message.starts_with("not valid TOML");
}

}  // namespace

TEST_CASE("a mutated reference file gives a config or an error, and never a crash") {
  const std::string reference = reference_without_comments();
  REQUIRE(check_answer(reference));
  int toml = 0;
  for (int i = 0; i < mutants; ++i) {
    const std::uint64_t seed = first_seed + static_cast<std::uint64_t>(i);
    INFO("seed " << seed);
    Rng rng(seed);
    std::string text = reference;
    // values swapped between lines reach the schema, broken bytes mostly the TOML library: both are wanted
    const bool bytes = rng.below(3) == 0;
    for (std::uint64_t n = 1 + rng.below(4); n > 0; --n)
      text = bytes ? mutate_bytes(text, rng) : mutate_lines(text, rng);
    INFO(text);
    if (check_answer(text)) ++toml;
  }
  // otherwise this would test the TOML library alone
  CHECK(toml > mutants / 5);
  CHECK(toml < mutants);
}

TEST_CASE("every beginning of the reference file gives a config or an error") {
  const std::string reference = reference_without_comments();
  for (std::size_t length = 0; length < reference.size(); length += 3) {
    INFO("length " << length);
    static_cast<void>(check_answer(reference.substr(0, length)));
  }
}

}  // namespace usher
