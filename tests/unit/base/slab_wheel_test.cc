// Slab and TimerWheel: generations, order, and deadlines against a plain sorted list.
#include <map>
#include <set>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "usher/base/rng.h"
#include "usher/base/slab.h"
#include "usher/base/timer_wheel.h"

using namespace usher;

TEST_CASE("a slab gives each slot once, and says when it is full") {
  Slab<int> slab(3);
  std::set<std::uint32_t> seen;
  for (int i = 0; i < 3; ++i) seen.insert(slab.acquire().value());
  CHECK(seen.size() == 3);
  CHECK_FALSE(slab.acquire().has_value());
  CHECK(slab.used() == 3);
}

TEST_CASE("a late answer to a reused slot is known as stale") {
  Slab<int> slab(2);
  const std::uint32_t slot = slab.acquire().value();
  const std::uint32_t generation = slab.generation(slot);
  CHECK(slab.holds(slot, generation));
  slab.release(slot);
  CHECK_FALSE(slab.holds(slot, generation));
  CHECK(slab.acquire().value() == slot);
  CHECK_FALSE(slab.holds(slot, generation));
  CHECK(slab.holds(slot, generation + 1));
  CHECK_FALSE(slab.holds(77, 0));
}

TEST_CASE("a reused slot starts from its first value") {
  Slab<int> slab(1);
  slab[slab.acquire().value()] = 42;
  slab.release(0);
  CHECK(slab[slab.acquire().value()] == 0);
}

namespace {
constexpr TimePoint start{std::chrono::hours(5)};
}

TEST_CASE("a deadline is never early and at most two ticks late") {
  const std::uint64_t seed = 20261123;
  CAPTURE(seed);
  Rng rng(seed);
  constexpr std::uint32_t slots = 500;
  TimerWheel wheel(slots, start);
  std::map<std::uint32_t, TimePoint> expected;
  TimePoint now = start;
  std::uint64_t fired = 0;
  for (int round = 0; round < 4000; ++round) {
    for (int i = 0; i < 5; ++i) {
      const auto slot = static_cast<std::uint32_t>(rng.below(slots));
      if (rng.below(4) == 0) {
        wheel.clear(slot);
        expected.erase(slot);
      } else {
        // From a millisecond to eleven days, evenly over the orders of magnitude.
        const TimePoint due = now + std::chrono::milliseconds(std::uint64_t{1} << rng.below(31)) + Duration(rng.below(1'000'000));
        wheel.set(slot, due);
        expected[slot] = due;
      }
    }
    const TimePoint before = now;
    now += std::chrono::milliseconds(std::uint64_t{1} << rng.below(20));
    wheel.advance(now, [&](std::uint32_t slot) {
      ++fired;
      REQUIRE(expected.contains(slot));
      CHECK(expected[slot] <= now);
      CHECK(expected[slot] + 2 * TimerWheel::tick > before);
      expected.erase(slot);
    });
    for (const auto& [slot, due] : expected) {
      REQUIRE(wheel.pending(slot));
      REQUIRE(due + 2 * TimerWheel::tick > now);
    }
    REQUIRE(wheel.size() == expected.size());
  }
  CHECK(fired > 1000);
}

TEST_CASE("waiting until next_due and no longer meets every deadline") {
  TimerWheel wheel(3, start);
  wheel.set(0, start + std::chrono::milliseconds(100));
  wheel.set(1, start + std::chrono::minutes(10));
  wheel.set(2, start + std::chrono::hours(30));
  std::vector<std::uint32_t> order;
  TimePoint now = start;
  int wakeups = 0;
  while (const auto due = wheel.next_due()) {
    REQUIRE(*due >= now);
    now = *due;
    ++wakeups;
    wheel.advance(now, [&](std::uint32_t slot) { order.push_back(slot); });
    REQUIRE(wakeups < 50);
  }
  CHECK(order == std::vector<std::uint32_t>{0, 1, 2});
  CHECK(now - start >= std::chrono::hours(30));
  CHECK(now - start < std::chrono::hours(30) + std::chrono::milliseconds(20));
}

TEST_CASE("what is due may set itself again, and clear another that is due too") {
  TimerWheel wheel(3, start);
  wheel.set(0, start + std::chrono::milliseconds(50));
  wheel.set(1, start + std::chrono::milliseconds(50));
  int calls = 0;
  const TimePoint later = start + std::chrono::seconds(1);
  wheel.advance(later, [&](std::uint32_t slot) {
    ++calls;
    wheel.clear(1 - slot);
    wheel.set(slot, later + std::chrono::seconds(1));
  });
  CHECK(calls == 1);
  CHECK(wheel.size() == 1);
}
