// The command line: what is understood, and what is refused with which status and words.
#include "cli/arguments.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

using namespace usher::cli;

namespace {

Arguments understood(const std::vector<std::string>& words) {
  auto parsed = parse_arguments(words);
  INFO((parsed ? "" : parsed.error().err));
  REQUIRE(parsed);
  return *parsed;
}

Answer not_run(const std::vector<std::string>& words) {
  auto parsed = parse_arguments(words);
  REQUIRE_FALSE(parsed);
  return parsed.error();
}

}  // namespace

TEST_CASE("every verb is understood with its arguments") {
  CHECK(understood({"run", "-c", "a.toml"}).verb == Verb::run);
  CHECK(understood({"run", "--config", "a.toml"}).config_file == "a.toml");
  CHECK(understood({"check", "-c", "a.toml"}).verb == Verb::check);
  CHECK(understood({"demo"}).verb == Verb::demo);
  const Arguments dsr = understood({"dsr", "--interface", "eth0", "--address", "192.0.2.1", "2001:db8::1"});
  CHECK(dsr.verb == Verb::dsr);
  CHECK(dsr.interface == "eth0");
  CHECK(dsr.addresses == std::vector<std::string>{"192.0.2.1", "2001:db8::1"});
  CHECK(understood({"status"}).verb == Verb::status);
  CHECK(understood({"listeners"}).verb == Verb::listeners);
  CHECK(understood({"backends"}).verb == Verb::backends);
  CHECK(understood({"connections"}).verb == Verb::connections);
  CHECK(understood({"events"}).verb == Verb::events);
  CHECK(understood({"drain", "app/a"}).verb == Verb::drain);
  CHECK(understood({"enable", "app/a"}).verb == Verb::enable);
  CHECK(understood({"disable", "app/a"}).verb == Verb::disable);
  CHECK(understood({"reload"}).verb == Verb::reload);

  const Arguments weight = understood({"weight", "app/web-1", "250"});
  CHECK(weight.verb == Verb::weight);
  CHECK(weight.pool == "app");
  CHECK(weight.backend == "web-1");
  CHECK(weight.weight == 250);
  CHECK(understood({"weight", "app/a", "0"}).weight == 0);
}

TEST_CASE("the socket is the documented one unless another is given, before or after the backend") {
  CHECK(understood({"status"}).socket == "/run/usher/admin.sock");
  CHECK(understood({"status", "--socket", "/tmp/x"}).socket == "/tmp/x");
  CHECK(understood({"drain", "--socket", "/tmp/x", "app/a"}).socket == "/tmp/x");
  CHECK(understood({"drain", "app/a", "--socket=/tmp/x"}).socket == "/tmp/x");
}

TEST_CASE("json and seconds are off unless asked for") {
  CHECK(understood({"events"}).output == Output::human);
  CHECK(understood({"events", "--json"}).output == Output::json);
  CHECK_FALSE(understood({"demo"}).seconds);
  const Arguments demo = understood({"demo", "--seconds", "20", "--json"});
  CHECK(demo.seconds == 20U);
  CHECK(demo.output == Output::json);
}

TEST_CASE("a wrong command line is one line with a hint, and exit 2") {
  struct Row {
    std::vector<std::string> words;
    std::string err;
  };
  const auto row = GENERATE(values<Row>({
      {{}, "usher: a verb is missing; see 'usher --help'\n"},
      {{"frobnicate"}, "usher: unknown verb 'frobnicate'; see 'usher --help'\n"},
      {{"--frobnicate"}, "usher: unknown option '--frobnicate'; see 'usher --help'\n"},
      {{"run"}, "usher run: --config is required; see 'usher run --help'\n"},
      {{"check"}, "usher check: --config is required; see 'usher check --help'\n"},
      {{"run", "-c"}, "usher run: --config wants a value; see 'usher run --help'\n"},
      {{"status", "extra"}, "usher status: unexpected 'extra'; see 'usher status --help'\n"},
      {{"status", "--color"}, "usher status: unexpected '--color'; see 'usher status --help'\n"},
      {{"check", "-c", "a", "--socket", "b"}, "usher check: unexpected '--socket'; see 'usher check --help'\n"},
      {{"drain"}, "usher drain: backend is required; see 'usher drain --help'\n"},
      {{"drain", "app"}, "usher drain: backend: 'app' is not of the form POOL/BACKEND; see 'usher drain --help'\n"},
      {{"drain", "/a"}, "usher drain: backend: '/a' is not of the form POOL/BACKEND; see 'usher drain --help'\n"},
      {{"drain", "app/"}, "usher drain: backend: 'app/' is not of the form POOL/BACKEND; see 'usher drain --help'\n"},
      {{"drain", "a/b/c"}, "usher drain: backend: 'a/b/c' is not of the form POOL/BACKEND; see 'usher drain --help'\n"},
      {{"weight", "app/a"}, "usher weight: weight is required; see 'usher weight --help'\n"},
      {{"weight", "app/a", "heavy"},
       "usher weight: weight: 'heavy' is not a whole number from 0 to 65535; see 'usher weight --help'\n"},
      {{"weight", "app/a", "1.5"},
       "usher weight: weight: '1.5' is not a whole number from 0 to 65535; see 'usher weight --help'\n"},
      {{"weight", "app/a", "-1"},
       "usher weight: weight: '-1' is not a whole number from 0 to 65535; see 'usher weight --help'\n"},
      {{"weight", "app/a", "65536"},
       "usher weight: weight: '65536' is not a whole number from 0 to 65535; see 'usher weight --help'\n"},
      {{"demo", "--seconds", "0"},
       "usher demo: --seconds: '0' is not a whole number from 1 to 86400; see 'usher demo --help'\n"},
      {{"dsr", "--address", "192.0.2.1"}, "usher dsr: --interface is required; see 'usher dsr --help'\n"},
      {{"dsr", "--interface", "eth0"}, "usher dsr: --address is required; see 'usher dsr --help'\n"},
      {{"dsr", "--interface", "eth0", "--address", "192.0.2.1:80"},
       "usher dsr: --address: '192.0.2.1:80' is no IP address; see 'usher dsr --help'\n"},
      {{"demo", "--seconds"}, "usher demo: --seconds wants a value; see 'usher demo --help'\n"},
  }));
  const Answer answer = not_run(row.words);
  CHECK(answer.status == 2);
  CHECK(answer.out.empty());
  CHECK(answer.err == row.err);
}

TEST_CASE("help and version are answered everywhere, with exit 0") {
  const std::string verb = GENERATE("", "run", "check", "doctor", "demo", "dsr", "status", "listeners", "backends", "connections",
                                    "events", "drain", "enable", "disable", "weight", "reload");
  CAPTURE(verb);
  const auto with = [&](const std::string& flag) {
    return not_run(verb.empty() ? std::vector<std::string>{flag} : std::vector<std::string>{verb, flag});
  };
  const Answer help = with("--help");
  CHECK(help.status == 0);
  CHECK(help.err.empty());
  CHECK(help.out.find("Usage: usher") != std::string::npos);
  const Answer version = with("--version");
  CHECK(version.status == 0);
  CHECK(version.out == "usher " USHER_VERSION "\n");
}

TEST_CASE("what later work builds is known by name, whatever stands behind it") {
  const std::string verb = GENERATE("top", "add", "remove", "upgrade", "plan", "why");
  CHECK(understood({verb}).verb == Verb::unsupported);
  CHECK(understood({verb}).unsupported == verb);
  CHECK(understood({verb, "app", "a=10.0.0.1", "--weight", "5", "-c", "x"}).verb == Verb::unsupported);
}

TEST_CASE("reload --max-closed is refused rather than ignored") {
  const Arguments reload = understood({"reload", "--max-closed", "5"});
  CHECK(reload.verb == Verb::unsupported);
  CHECK(reload.unsupported == "reload --max-closed");
}

TEST_CASE("help names what works, and nothing that doesn't yet") {
  const std::string help = not_run({"--help"}).out;
  for (const char* verb : {"run", "check", "demo", "status", "listeners", "backends", "connections", "events", "drain",
                           "enable", "disable", "weight", "reload", "doctor", "dsr"}) {
    CAPTURE(verb);
    CHECK(help.find("\n  " + std::string(verb) + " ") != std::string::npos);
  }
  for (const char* verb : {"upgrade", "autoscale", "plan", "\n  top", "\n  why", "\n  add", "\n  remove"}) {
    CAPTURE(verb);
    CHECK(help.find(verb) == std::string::npos);
  }
}

TEST_CASE("run --cleanup needs the file; doctor takes one, and needs none") {
  CHECK(understood({"run", "--cleanup", "-c", "x"}).verb == Verb::cleanup);
  CHECK(understood({"run", "-c", "x"}).verb == Verb::run);
  CHECK(not_run({"run", "--cleanup"}).status == exit_usage);
  CHECK(understood({"doctor"}).config_file.empty());
  CHECK(understood({"doctor", "-c", "x", "--json"}).output == Output::json);
}
