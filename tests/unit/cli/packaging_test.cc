// What is installed beside the binary keeps up with it: man pages, completions, the unit file.
#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "cli/arguments.h"

namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(std::string(USHER_SOURCE_DIR) + "/" + path);
  std::ostringstream text;
  text << file.rdbuf();
  INFO(path);
  REQUIRE_FALSE(text.str().empty());
  return text.str();
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
  return text;
}

/// The verbs that `usher --help` lists.
std::vector<std::string> verbs() {
  const auto help = usher::cli::parse_arguments({"--help"});
  REQUIRE_FALSE(help);
  const std::string text = help.error().out;
  std::vector<std::string> found;
  std::istringstream lines(text.substr(text.find("Subcommands:")));
  const std::regex verb("^  ([a-z]+) .*");
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, match, verb)) found.push_back(match[1]);
  }
  REQUIRE(found.size() >= 13);
  return found;
}

}  // namespace

TEST_CASE("every key of usher.toml stands in its man page, with its default") {
  const std::string page = content_of("conf/man/usher.toml.5");
  std::istringstream reference(content_of("conf/usher.toml"));
  const std::regex key(R"re(^(\w+ = .*?)\s*(?:#.*)?$)re");
  std::smatch match;
  int keys = 0;
  for (std::string line; std::getline(reference, line);) {
    if (!std::regex_match(line, match, key)) continue;
    ++keys;
    CAPTURE(line);
    CHECK(page.find("\n.It Li " + replaced(match[1], "\"", "\\(dq") + "\n") != std::string::npos);
  }
  CHECK(keys > 40);
}

TEST_CASE("every verb stands in the man page and in each shell's completion") {
  const std::string page = content_of("conf/man/usher.8");
  const std::string bash = content_of("conf/completion/usher.bash");
  const std::string zsh = content_of("conf/completion/_usher");
  const std::string fish = content_of("conf/completion/usher.fish");
  for (const std::string& verb : verbs()) {
    CAPTURE(verb);
    const std::regex word("\\b" + verb + "\\b");
    CHECK(std::regex_search(page, std::regex("\n\\.(It )?Cm [^\n]*\\b" + verb + "\\b")));
    CHECK(std::regex_search(bash.substr(bash.find("local verbs=")), word));
    CHECK(std::regex_search(zsh, std::regex("\n    ['\"]" + verb + ":")));
    CHECK(fish.find(" -a " + verb + " ") != std::string::npos);
  }
}

TEST_CASE("each line of the unit that takes something away has its reason above it") {
  std::istringstream unit(content_of("conf/usher.service"));
  const std::regex hardening(
      "^(Protect|Private|Restrict|SystemCall|Lock|Memory|Capability|Ambient|NoNew|Limit|Remove|Keyring|UMask|Proc).*");
  std::string line;
  bool reasoned = false;
  int hardened = 0;
  while (std::getline(unit, line)) {
    if (line.empty() || line.front() == '[') {
      reasoned = false;
    } else if (line.front() == '#') {
      reasoned = true;
    } else if (std::regex_match(line, hardening)) {
      ++hardened;
      CAPTURE(line);
      CHECK(reasoned);
    }
  }
  CHECK(hardened > 20);
}
