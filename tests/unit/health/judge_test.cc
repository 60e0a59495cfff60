// Judge: tables of results and the flips that they make, and the pace of the checks.
#include "usher/health/judge.h"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace usher {
namespace {

using namespace std::chrono_literals;

HealthOptions options_with(std::uint32_t rise, std::uint32_t fall) {
  HealthOptions options;
  options.rise = rise;
  options.fall = fall;
  return options;
}

/// '+' a pass, '-' a failure in; for each 'U' a flip up, 'D' a flip down, '.' none, out.
std::string flips_for(Judge& judge, std::string_view results) {
  std::string flips;
  for (const char result : results) {
    const auto flip = judge.observe({result == '+', result == '+' ? "connected" : "connection refused"});
    flips += !flip ? '.' : flip->up ? 'U' : 'D';
  }
  return flips;
}

TEST_CASE("rise and fall decide when a backend flips") {
  struct Row {
    const char* what;
    bool starts_up;
    std::uint32_t rise;
    std::uint32_t fall;
    const char* results;
    const char* flips;
  };
  const Row rows[] = {
      {"an unknown backend comes up with its first pass", false, 2, 3, "+++", "U.."},
      {"an unknown backend's first failure is no flip", false, 2, 3, "---", "..."},
      {"a known bad backend needs rise passes", false, 2, 3, "-++", "..U"},
      {"a failure in between begins the rise anew", false, 2, 3, "-+-+-++", "......U"},
      {"a backend that starts up needs fall failures", true, 2, 3, "---", "..D"},
      {"a backend that starts up says nothing when it passes", true, 2, 3, "++", ".."},
      {"a pass in between begins the fall anew", true, 2, 3, "--+--+---", "........D"},
      {"down and up again", false, 2, 3, "+---++---", "U..D.U..D"},
      {"fall 1 flips at once", true, 1, 1, "-+-+", "DUDU"},
      {"rise and fall of 0 are 1", true, 0, 0, "-+-+", "DUDU"},
      {"nothing flips twice", true, 1, 2, "------", ".D...."},
  };
  for (const Row& row : rows) {
    INFO(row.what << ": " << row.results);
    Judge judge(options_with(row.rise, row.fall), row.starts_up);
    CHECK(flips_for(judge, row.results) == row.flips);
  }
}

TEST_CASE("a judge knows whether it was ever asked") {
  Judge judge(options_with(2, 3), true);
  CHECK_FALSE(judge.judged());
  CHECK(judge.up());
  CHECK(judge.last_reason().empty());
  (void)judge.observe({false, "connection refused"});
  CHECK(judge.judged());
  CHECK(judge.up());
  CHECK(judge.streak() == 1);
  CHECK(judge.last_reason() == "connection refused");
}

TEST_CASE("a flip says how it was decided") {
  Judge judge(options_with(2, 3), false);
  CHECK(judge.observe({true, "status 200"})->reason == "a check passed: status 200");
  CHECK(flips_for(judge, "--") == "..");
  CHECK(judge.observe({false, "status 503, expected 200-399"})->reason ==
        "3 checks failed in a row: status 503, expected 200-399");
  CHECK_FALSE(judge.up());
  CHECK(flips_for(judge, "+") == ".");
  CHECK(judge.observe({true, ""})->reason == "2 checks passed in a row");
}

TEST_CASE("a reload keeps what is known, and decides by the new numbers") {
  Judge judge(options_with(2, 5), true);
  CHECK(flips_for(judge, "--") == "..");
  judge.adopt(options_with(2, 3));
  CHECK(judge.judged());
  CHECK(judge.streak() == 2);
  CHECK(flips_for(judge, "-") == "D");
  judge.adopt(options_with(5, 3));
  CHECK(flips_for(judge, "++++") == "....");
  judge.adopt(options_with(1, 3));
  CHECK(flips_for(judge, "+") == "U");
}

TEST_CASE("checks come faster while a flip is being decided, and never in step") {
  HealthOptions options = options_with(2, 3);
  options.interval = 2s;
  options.fast_interval = 500ms;
  Judge judge(options, true);
  const std::uint64_t seed = 20240611;
  CAPTURE(seed);
  Rng rng(seed);
  const auto range_of_next = [&] {
    Duration low = Duration::max();
    Duration high{};
    for (int i = 0; i < 2000; ++i) {
      const Duration next = judge.next_in(rng);
      low = std::min(low, next);
      high = std::max(high, next);
    }
    return std::pair(low, high);
  };
  const auto near = [](std::pair<Duration, Duration> range, Duration base) {
    return range.first >= base - base / 10 && range.first < base - base / 12 && range.second <= base + base / 10 &&
           range.second > base + base / 12;
  };
  CHECK(near(range_of_next(), 2s));
  CHECK(flips_for(judge, "-") == ".");
  CHECK(near(range_of_next(), 500ms));
  CHECK(flips_for(judge, "--") == ".D");
  CHECK(near(range_of_next(), 2s));  // decided: down, and failing as expected
  CHECK(flips_for(judge, "+") == ".");
  CHECK(near(range_of_next(), 500ms));

  Duration low = Duration::max();
  Duration high{};
  for (int i = 0; i < 2000; ++i) {
    const Duration first = judge.first_in(rng);
    low = std::min(low, first);
    high = std::max(high, first);
  }
  CHECK(low >= 0s);
  CHECK(low < 25ms);
  CHECK(high < 500ms);
  CHECK(high > 475ms);
}

TEST_CASE("intervals of nothing are nothing, not a division by zero") {
  HealthOptions options;
  options.interval = options.fast_interval = Duration{0};
  const Judge judge(options, false);
  Rng rng(1);
  CHECK(judge.next_in(rng) == Duration{0});
  CHECK(judge.first_in(rng) == Duration{0});
}

TEST_CASE("a timeout is told in the largest unit that says it exactly") {
  CHECK(timed_out(1s, "while connecting") == "timed out after 1s while connecting");
  CHECK(timed_out(1500ms, "while connecting") == "timed out after 1500ms while connecting");
  CHECK(timed_out(20us, "while connecting") == "timed out after 20us while connecting");
  CHECK(timed_out(7ns, "while connecting") == "timed out after 7ns while connecting");
}

}  // namespace
}  // namespace usher
