// Every broken configuration of broken/*.txt gives exactly the diagnostics that stand below it.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "usher/config/config.h"

namespace usher {
namespace {

/// What completes a case's text to a file, so that a case shows only what it is about.
const std::map<std::string, std::string> tails = {
    {"listener", "[[listener]]\nname = \"web\"\nbind = [\"127.0.0.1:80\"]\npool = \"app\"\n"},
    {"pool", "[[pool]]\nname = \"app\"\n[[pool.backend]]\naddress = \"127.0.0.1:8000\"\n"},
    {"backend", "[[pool.backend]]\naddress = \"127.0.0.1:8000\"\n"},
};

struct Case {
  std::string name;
  std::string text;
  std::string says;
};

Case start(const std::string& heading, std::vector<std::string>& wanted) {
  const std::size_t plus = heading.find(" + ");
  std::istringstream words(plus == std::string::npos ? "" : heading.substr(plus + 3));
  wanted.clear();
  for (std::string word; words >> word;) wanted.push_back(word);
  return {heading.substr(0, plus), "", ""};
}

std::vector<Case> read_cases(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE(file);
  std::vector<Case> cases;
  std::vector<std::string> wanted;
  bool in_text = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("=== ")) {
      cases.push_back(start(line.substr(4), wanted));
      in_text = true;
    } else if (line == "--- says") {
      for (const std::string& tail : wanted) cases.back().text += tails.at(tail);
      in_text = false;
    } else if (!cases.empty() && in_text) {
      cases.back().text += line + "\n";
    } else if (!cases.empty() && !line.empty()) {
      cases.back().says += line + "\n";
    }
  }
  return cases;
}

std::map<std::string, std::vector<Case>> all_cases() {
  std::map<std::string, std::vector<Case>> cases;
  for (const auto& entry : std::filesystem::directory_iterator(USHER_SOURCE_DIR "/tests/unit/config/broken")) {
    cases[entry.path().stem()] = read_cases(entry.path());
  }
  return cases;
}

std::string all_texts(const Parsed& parsed) {
  std::string texts;
  for (const Diagnostic& problem : parsed.problems) texts += problem.text() + "\n";
  return texts;
}

/// The hint of a syntax error is the TOML library's own sentence, which changes between its releases.
std::string without_hints(const std::string& texts) {
  std::istringstream lines(texts);
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("    hint: ")) kept += line + "\n";
  }
  return kept;
}

}  // namespace

TEST_CASE("every broken configuration gives exactly its diagnostics") {
  for (const auto& [area, cases] : all_cases()) {
    for (const Case& one : cases) {
      INFO(area << ": " << one.name << "\n" << one.text);
      const Parsed parsed = parse_config(one.text, "usher.toml");
      REQUIRE_FALSE(one.says.empty());
      if (area == "syntax") {
        CHECK(without_hints(all_texts(parsed)) == without_hints(one.says));
      } else {
        CHECK(all_texts(parsed) == one.says);
      }
      const bool failed =
          std::ranges::any_of(parsed.problems, [](const auto& p) { return p.severity == Severity::error; });
      CHECK(parsed.config.has_value() == !failed);
      CHECK(failed == (area != "warnings"));
    }
  }
}

TEST_CASE("there are at least 60 broken configurations, each under a name of its own") {
  std::set<std::string> names;
  std::size_t broken = 0;
  for (const auto& [area, cases] : all_cases()) {
    for (const Case& one : cases) {
      INFO(area << ": " << one.name);
      CHECK(names.insert(area + ": " + one.name).second);
      if (area != "warnings") ++broken;
    }
  }
  CHECK(broken >= 60);
}

TEST_CASE("a syntax error explains itself in a hint") {
  const auto cases = all_cases();
  for (const Case& one : cases.at("syntax")) {
    INFO(one.name);
    const Parsed parsed = parse_config(one.text, "usher.toml");
    REQUIRE(parsed.problems.size() == 1);
    const Diagnostic& problem = parsed.problems.front();
    CHECK((problem.message.starts_with("not valid TOML: ") ? !problem.hint.empty() : !problem.message.empty()));
  }
}

}  // namespace usher
