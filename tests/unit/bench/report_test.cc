// Reports: what is printed, what --json holds, and what --compare makes of two.
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/compare.h"
#include "bench/report_text.h"
#include "bench/tenths.h"
#include "bench/words.h"

using namespace usher;
using namespace usher::bench;
using namespace usher::load;
using namespace std::chrono_literals;
using Json = nlohmann::json;

namespace {

BenchReport report_with(std::uint64_t requests, Duration latency = 1ms) {
  BenchReport report;
  report.target = "10.1.0.1:80";
  report.started_at = "2026-01-01T00:00:00Z";
  report.plan.threads = 1;
  report.counted.measured = 10s;
  report.counted.total = {requests + 10, 50, 1000, 2000};
  report.counted.counted = {requests, 0, 900, 1900};
  for (std::uint64_t i = 0; i < requests; ++i) report.counted.latency.add(latency);
  report.counted.slices_whole = load_slices;
  for (std::size_t i = 0; i < load_slices; ++i) report.counted.slices[i] = requests / 10 + i % 2;
  return report;
}

void fill_tenth(BenchReport& report, std::size_t tenth, int requests, Duration latency) {
  for (int i = 0; i < requests; ++i) report.counted.slice_latency[tenth].add(latency);
}

/// A thousand requests in each tenth, the slowest tenth the last.
BenchReport report_by_tenths(Duration usual, Duration worst) {
  BenchReport report = report_with(10'000, usual);
  for (std::size_t i = 0; i < load_slices; ++i) fill_tenth(report, i, 1000, i + 1 < load_slices ? usual : worst);
  return report;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("numbers for people keep three digits") {
  CHECK(latency_text(0ns) == "0ns");
  CHECK(latency_text(999ns) == "999ns");
  CHECK(latency_text(42100ns) == "42.1us");
  CHECK(latency_text(1240us) == "1.24ms");
  CHECK(latency_text(9996us) == "10.0ms");
  CHECK(latency_text(999'600us) == "1.00s");
  CHECK(latency_text(125s) == "125s");
  CHECK(seconds_text(0.00124) == "1.24ms");
  CHECK(seconds_text(-1) == "0ns");
  CHECK(seconds_text(1e300) == seconds_text(9e9));
  CHECK(count_text(0) == "0");
  CHECK(count_text(999) == "999");
  CHECK(count_text(1234567) == "1,234,567");
  CHECK(rate_text(12.34) == "12.3");
  CHECK(rate_text(12345.6) == "12,346");
  CHECK(bytes_text(512) == "512 B");
  CHECK(bytes_text(1536) == "1.50 KiB");
  CHECK(bytes_text(20.0 * 1024 * 1024 * 1024) == "20.0 GiB");
}

TEST_CASE("the JSON has every key of the contract, and null where nothing was measured") {
  BenchReport report = report_with(10'000);
  const Json json = Json::parse(report_json(report));
  for (const char* key : {"tool",
                          "version",
                          "mode",
                          "target",
                          "url",
                          "connections",
                          "threads",
                          "rate",
                          "seed",
                          "started_at",
                          "interrupted",
                          "warmup_seconds",
                          "duration_seconds",
                          "total",
                          "measured",
                          "per_second",
                          "slices_per_second",
                          "slices_p99",
                          "errors",
                          "latency",
                          "connect_latency",
                          "late_sends",
                          "idle",
                          "cpu_seconds",
                          "busy_share",
                          "histogram"}) {
    CAPTURE(key);
    CHECK(json.contains(key));
  }
  CHECK(json["rate"].is_null());
  CHECK(json["idle"].is_null());
  CHECK(json["connect_latency"].is_null());
  CHECK(json["total"]["requests"] == 10'010);
  CHECK(json["measured"]["requests"] == 10'000);
  CHECK(json["per_second"]["requests"] == 1000.0);
  CHECK(json["latency"]["count"] == 10'000);
  CHECK(json["latency"]["p999"].is_number());
  CHECK(json["latency"]["corrected"] == false);
  for (const char* kind :
       {"connect_refused", "connect_timeout", "reset", "closed_early", "timeout", "bad_answer", "local", "total"}) {
    CHECK(json["errors"][kind] == 0);
  }
  CHECK(json["histogram"].size() == 1);
  CHECK(json["histogram"][0][1] == 10'000);
}

TEST_CASE("percentiles that rest on too few are not told") {
  const BenchReport report = report_with(500);
  CHECK(Json::parse(report_json(report))["latency"]["p99"].is_null());
  CHECK(has(report_table(report), "         -"));
  CHECK(has(cautions(report).back(), "fewer than ten"));
}

TEST_CASE("the middle of a list is its median") {
  CHECK(median({3}) == 3);
  CHECK(median({9, 1, 2}) == 2);
  CHECK(median({4, 100, 1, 2}) == 3);
}

TEST_CASE("the latency of each tenth is told, where it is settled") {
  BenchReport report = report_with(9999);
  for (std::size_t i = 0; i < load_slices; ++i) fill_tenth(report, i, i == 3 ? 999 : 1000, 1ms);
  const Json unsettled = Json::parse(report_json(report))["slices_p99"];
  REQUIRE(unsettled.size() == load_slices);
  for (std::size_t i = 0; i < load_slices; ++i) {
    if (i == 3) {
      CHECK(unsettled[i].is_null());
    } else {
      CHECK(unsettled[i] == 0.001);
    }
  }
  CHECK_FALSE(has(report_table(report), "by tenths"));
  fill_tenth(report, 3, 1, 1ms);
  CHECK(
      has(report_table(report), "\np99 by tenths       1.00ms in the median tenth of the time, 1.00ms in the worst\n"));

  report.counted.slices_whole = 2;  // a run that ended early
  CHECK(Json::parse(report_json(report))["slices_p99"].size() == 2);
  CHECK_FALSE(has(report_table(report), "by tenths"));
  report.counted.slices_whole = 0;
  CHECK(Json::parse(report_json(report))["slices_p99"] == Json::array());
  for (const LoadMode mode : {LoadMode::stream, LoadMode::idle}) {
    report.plan.mode = mode;
    CHECK(Json::parse(report_json(report))["slices_p99"].is_null());
  }
}

TEST_CASE("one bad tenth is told from a tail") {
  const std::string table = report_table(report_by_tenths(2ms, 8ms));
  CHECK(has(table, "2.00ms in the median tenth of the time, 8.00ms in the worst"));
}

TEST_CASE("a run of N requests says how many of them were answered, where not all were") {
  BenchReport report = report_with(10'000);
  report.plan.requests_max = 10'010;
  report.counted.ending = LoadEnding::requests_done;
  CHECK(cautions(report).empty());
  report.counted.total.requests -= 3'337;
  REQUIRE(cautions(report).size() == 1);
  CHECK(has(cautions(report)[0], "6,673 of 10,010 requests were answered"));
}

TEST_CASE("a tool that was the bottleneck says so") {
  BenchReport report = report_with(10'000);
  CHECK(cautions(report).empty());
  report.counted.cpu_user_seconds = 4;
  report.counted.cpu_system_seconds = 5.5;
  REQUIRE(cautions(report).size() == 1);
  CHECK(has(cautions(report)[0], "was the bottleneck"));
  report.plan.threads = 2;
  CHECK(cautions(report).empty());
  report.counted.cpu_wait_seconds = 9.5;
  REQUIRE(cautions(report).size() == 1);
  CHECK(has(cautions(report)[0], "short of CPU"));
}

TEST_CASE("what went wrong is said in sentences, with the cure where there is one") {
  BenchReport report = report_with(10);
  CHECK(complaints(report).empty());
  report.counted.errors.count(LoadError::local);
  report.counted.errors.last_local_errno = EADDRNOTAVAIL;
  report.counted.errors.count(LoadError::timeout);
  const auto found = complaints(report);
  REQUIRE(found.size() == 2);
  CHECK(has(found[0], "1 requests had no answer in time"));
  CHECK(has(found[1], "ip_local_port_range"));
  CHECK(has(found[1], "--bind"));
}

TEST_CASE("nothing connected is one sentence with the reason") {
  BenchReport report;
  report.target = "127.0.0.1:9";
  for (int i = 0; i < 12; ++i) report.counted.errors.count(LoadError::connect_refused);
  report.counted.errors.last_connect_errno = ECONNREFUSED;
  CHECK(complaints(report) ==
        std::vector<std::string>{"nothing could connect to 127.0.0.1:9: Connection refused (12 attempts)"});
}

TEST_CASE("two reports are told apart by more than they wavered, or not") {
  const auto read = [](const BenchReport& report, const char* name) {
    auto compared = read_report(name, report_json(report));
    if (!compared) FAIL(compared.error().message);
    return *compared;
  };
  const ComparedReport a = read(report_with(10'000), "a.json");
  const ComparedReport same = read(report_with(10'000), "b.json");
  const ComparedReport faster = read(report_with(12'000, 2ms), "c.json");
  CHECK(has(comparison_table(a, same), "within how much"));
  const std::string table = comparison_table(a, faster);
  CHECK(has(table, "beyond how much"));
  CHECK(has(table, "1.200"));
  CHECK(has(table, "latency p50"));
  CHECK(has(table, "2.000"));
  CHECK_FALSE(has(table, "held"));
  BenchReport other = report_with(10);
  other.plan.connections = 7;
  CHECK(has(comparison_table(a, read(other, "d.json")), "weren't asked for the same"));
}

TEST_CASE("the median tenth is compared where both reports have it") {
  const auto read = [](const std::string& json) {
    auto compared = read_report("x.json", json);
    if (!compared) FAIL(compared.error().message);
    return *compared;
  };
  const std::string now = report_json(report_by_tenths(2ms, 80ms));
  Json old = Json::parse(now);
  old.erase("slices_p99");
  Json unsettled = Json::parse(now);
  unsettled["slices_p99"][4] = nullptr;
  const std::string table = comparison_table(read(now), read(report_json(report_by_tenths(4ms, 4ms))));
  CHECK(has(table, "\np99 median tenth        2.00ms        4.00ms     2.000\n"));
  for (const Json& other : {old, unsettled}) {
    CHECK_FALSE(has(comparison_table(read(now), read(other.dump())), "tenth"));
    CHECK_FALSE(has(comparison_table(read(other.dump()), read(now)), "tenth"));
    CHECK(has(comparison_table(read(other.dump()), read(now)), "\nlatency p99 "));
  }
}

TEST_CASE("a file that is no report is refused by name") {
  for (const char* text : {"", "{", "[]", "null", "{\"tool\":\"wrk\"}", "{\"tool\":5}"}) {
    const auto report = read_report("x.json", text);
    REQUIRE_FALSE(report);
    CHECK(has(report.error().message, "x.json is no report"));
  }
  // One that lacks everything, or has it in other types, is read as one that has nothing.
  const auto bare = read_report(
      "x.json", R"({"tool":"usher-bench","latency":5,"per_second":[],"errors":null,"slices_per_second":["a"]})");
  REQUIRE(bare);
  CHECK_FALSE(comparison_table(*bare, *bare).empty());
}
