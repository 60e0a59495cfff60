// The man page and the completions keep up with the options.
#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "bench/arguments.h"

namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(std::string(USHER_SOURCE_DIR) + "/" + path);
  std::ostringstream text;
  text << file.rdbuf();
  INFO(path);
  REQUIRE_FALSE(text.str().empty());
  return text.str();
}

std::set<std::string> options_of(const std::string& help) {
  std::set<std::string> found;
  const std::regex option("--([a-z-]+)");
  for (std::sregex_iterator at(help.begin(), help.end(), option), end; at != end; ++at) found.insert((*at)[1]);
  return found;
}

}  // namespace

TEST_CASE("every mode and option stands in the man page and in each shell's completion") {
  const std::string page = content_of("conf/man/usher-bench.1");
  const std::string bash = content_of("conf/completion/usher-bench.bash");
  const std::string zsh = content_of("conf/completion/_usher-bench");
  const std::string fish = content_of("conf/completion/usher-bench.fish");
  for (const std::string mode : {"http", "echo", "connect", "stream", "idle", "serve"}) {
    CAPTURE(mode);
    CHECK(page.find("\n.It Cm " + mode) != std::string::npos);
    CHECK(std::regex_search(bash, std::regex("\\b" + mode + "\\b")));
    CHECK(zsh.find("'" + mode + ":") != std::string::npos);
    CHECK(fish.find(" -a " + mode + " ") != std::string::npos);
    const auto help = usher::bench::parse_bench_arguments({mode, "--help"});
    REQUIRE_FALSE(help);
    for (const std::string& option : options_of(help.error().out)) {
      CAPTURE(option);
      CHECK(
          std::regex_search(page, std::regex("\n\\.It Fl [^\n]*Fl -" + option + "\\b|\n\\.It Fl -" + option + "\\b")));
      CHECK(bash.find("--" + option) != std::string::npos);
      CHECK(zsh.find("--" + option) != std::string::npos);
      CHECK(fish.find(" -l " + option + " ") != std::string::npos);
    }
  }
}
