// What `usher check` says and how it ends.
#include "cli/check.h"

#include <catch2/catch_test_macros.hpp>

using namespace usher;
using namespace usher::cli;

TEST_CASE("a good file is counted, with exit 0") {
  Config config;
  config.listeners.resize(1);
  config.pools.resize(2);
  config.pools[0].backends.resize(2);
  config.pools[1].backends.resize(1);
  const Answer answer = check_answer("a.toml", Parsed{config, {}});
  CHECK(answer.status == 0);
  CHECK(answer.out == "a.toml: ok: 1 listener, 2 pools, 3 backends\n");
  CHECK(answer.err.empty());
}

TEST_CASE("every problem of a bad file is said, with exit 2 and nothing on stdout") {
  const Parsed parsed{std::nullopt,
                      {{Severity::error, "a.toml", 3, 1, "unknown key 'prot'", "did you mean 'port'?"},
                       {Severity::error, "a.toml", 9, 8, "weight is 'x'", ""}}};
  const Answer answer = check_answer("a.toml", parsed);
  CHECK(answer.status == 2);
  CHECK(answer.out.empty());
  CHECK(answer.err ==
        "a.toml:3:1: error: unknown key 'prot'\n    hint: did you mean 'port'?\na.toml:9:8: error: weight is 'x'\n");
}

TEST_CASE("warnings alone are said, and are no failure") {
  const Answer answer = check_answer("a.toml", Parsed{Config{}, {{Severity::warning, "a.toml", 1, 1, "odd", ""}}});
  CHECK(answer.status == 0);
  CHECK(answer.err == "a.toml:1:1: warning: odd\n");
  CHECK(answer.out == "a.toml: ok: 0 listeners, 0 pools, 0 backends\n");
}
