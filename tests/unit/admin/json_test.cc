// JSON of the admin API: forms of times, durations and counts, and what a change may say.
#include "admin/json.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <nlohmann/json.hpp>

#include "fake_service.h"

using namespace usher;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using nlohmann::json;

TEST_CASE("times are RFC 3339 in UTC with milliseconds") {
  CHECK(rfc3339(WallTime(1718098200250ms)) == "2024-06-11T09:30:00.250Z");
  CHECK(rfc3339(WallTime(0ms)) == "1970-01-01T00:00:00.000Z");
  CHECK(rfc3339(WallTime(-1ms)) == "1969-12-31T23:59:59.999Z");
  CHECK(rfc3339(WallTime(951782400005ms)) == "2000-02-29T00:00:00.005Z");
}

TEST_CASE("status: durations are seconds, counts integers, an absent time null") {
  StatusReport status = testing::FakeService().status();
  json parsed = json::parse(to_json(status));
  CHECK(parsed["version"] == "9.9");
  CHECK(parsed["phase"] == "serving");
  CHECK(parsed["started"] == "2024-06-11T09:30:00.250Z");
  CHECK(parsed["uptime"] == 1.5);
  CHECK(parsed["reloaded"].is_null());
  CHECK(parsed["connections_max"].is_number_integer());
  status.reloaded = status.started;
  parsed = json::parse(to_json(status));
  CHECK(parsed["reloaded"] == "2024-06-11T09:30:00.250Z");
}

TEST_CASE("a listener names every outcome") {
  const json parsed = json::parse(to_json(testing::FakeService().listeners()));
  const json& listener = parsed["listeners"].at(0);
  CHECK(listener["bind"] == json({"127.0.0.1:80", "[::1]:80"}));
  CHECK(listener["closed"].size() == outcome_count);
  CHECK(listener["closed"]["served"] == 9);
  CHECK(listener["closed"]["internal"] == 0);
  CHECK(listener["duration"]["count"] == 9);
  CHECK(listener["duration"]["sum"] == 2.5);
}

TEST_CASE("a backend's unknown latency and since are null, known ones seconds and time") {
  BackendReport backend = testing::FakeService().backends().front();
  json parsed = json::parse(to_json(backend));
  CHECK(parsed["connect_latency"].is_null());
  CHECK(parsed["since"].is_null());
  CHECK(parsed["intent"] == "enabled");
  CHECK(parsed["connect_failures"].size() == connect_failure_count);
  backend.connect_latency = 250us;
  backend.since = WallTime(0ms);
  backend.totals.connect_failures[static_cast<std::size_t>(ConnectFailure::timeout)] = 3;
  parsed = json::parse(to_json(backend));
  CHECK(parsed["connect_latency"] == 0.00025);
  CHECK(parsed["since"] == "1970-01-01T00:00:00.000Z");
  CHECK(parsed["connect_failures"]["timeout"] == 3);
}

TEST_CASE("what eBPF counts is null where it doesn't, else numbers, and the connect time seconds") {
  BackendReport backend = testing::FakeService().backends().front();
  CHECK(json::parse(to_json(backend))["kernel"].is_null());
  KernelTotals kernel;
  kernel.tried = 5;
  kernel.retransmits = 2;
  kernel.flows = 3;
  backend.totals.kernel = kernel;
  json parsed = json::parse(to_json(backend));
  CHECK(parsed["kernel"]["connections"] == 5);
  CHECK(parsed["kernel"]["retransmits"] == 2);
  CHECK(parsed["kernel"]["flows"] == 3);
  CHECK(parsed["kernel"]["connect_p50"].is_null());
  backend.totals.kernel->connect[7] = 1;
  parsed = json::parse(to_json(backend));
  CHECK(parsed["kernel"]["connect_p99"] == 0.000256);
  std::vector<ListenerReport> listeners = testing::FakeService().listeners();
  CHECK(json::parse(to_json(listeners))["listeners"][0]["kernel"].is_null());
  listeners[0].kernel = KernelListenerTotals{.accepted = 7, .active = 2};
  CHECK(json::parse(to_json(listeners))["listeners"][0]["kernel"] == json({{"accepted", 7}, {"active", 2}}));
}

TEST_CASE("counts beyond 2^53 stay exact integers") {
  BackendReport backend;
  backend.totals.bytes_in = 18446744073709551615U;
  CHECK(json::parse(to_json(backend))["bytes_in"] == 18446744073709551615U);
}

TEST_CASE("empty lists are lists") {
  CHECK(json::parse(to_json(std::vector<BackendReport>{}))["backends"] == json::array());
  CHECK(json::parse(to_json(std::vector<Event>{}))["events"] == json::array());
}

TEST_CASE("bytes that are not UTF-8 don't take the answer away") {
  const json parsed = json::parse(config_json("f\xff", "quote \" and \n\xc3"));
  CHECK(parsed["file"] == "f\xef\xbf\xbd");
  CHECK(parsed["text"] == "quote \" and \n\xef\xbf\xbd");
}

TEST_CASE("a refused reload says the first problem as its error and lists them all") {
  ReloadReport report;
  report.problems = {"first", "second"};
  json parsed = json::parse(to_json(report));
  CHECK_THAT(parsed["error"].get<std::string>(), ContainsSubstring("first"));
  CHECK(parsed["applied"] == false);
  CHECK(parsed["problems"].size() == 2);
  report = {.applied = true, .changes = {"x"}, .problems = {}};
  parsed = json::parse(to_json(report));
  CHECK(!parsed.contains("error"));
  CHECK(parsed["changes"] == json({"x"}));
}

TEST_CASE("a change is a state or a weight") {
  CHECK(parse_backend_change(R"({"state": "drain"})") == BackendChange(Intent::drain));
  CHECK(parse_backend_change(R"({"state": "enabled"})") == BackendChange(Intent::enabled));
  CHECK(parse_backend_change(R"({"state": "disabled"})") == BackendChange(Intent::disabled));
  CHECK(parse_backend_change(R"({"weight": 0})") == BackendChange(std::uint32_t{0}));
  CHECK(parse_backend_change(R"({"weight": 4294967295})") == BackendChange(std::uint32_t{4294967295}));
}

TEST_CASE("a change that is none says what is wrong") {
  const std::pair<const char*, const char*> table[] = {
      {"", "bad JSON: parse error at line 1, column 1"},
      {"{\"state\":\n \"drain\",}", "line 2"},
      {"[1]", "expected an object with one member"},
      {"{}", "expected an object with one member"},
      {R"({"state": "drain", "weight": 1})", "expected an object with one member"},
      {R"({"state": "off"})", R"("state" is "off"; expected "drain", "enabled" or "disabled")"},
      {R"({"state": 1})", R"("state" is 1)"},
      {R"({"weight": -1})", R"("weight" is -1)"},
      {R"({"weight": 1.5})", R"("weight" is 1.5)"},
      {R"({"weight": "10"})", R"("weight" is "10")"},
      {R"({"weight": 4294967296})", R"("weight" is 4294967296)"},
      {R"({"weight": 99999999999999999999})", R"("weight" is)"},
      {R"({"wieght": 1})", R"(unknown member "wieght")"},
      {"{\"state\": \"\xff\"}", "bad JSON"},
  };
  for (const auto& [body, sentence] : table) {
    CAPTURE(body);
    const auto change = parse_backend_change(body);
    REQUIRE(!change);
    CHECK_THAT(change.error().message, ContainsSubstring(sentence));
  }
}

TEST_CASE("a body of nothing but brackets is refused without a deep stack") {
  CHECK(!parse_backend_change(std::string(64 * 1024, '[')));
}
