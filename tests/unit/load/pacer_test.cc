// Pacer: requests are due evenly, whatever happens, and those that are late are counted once.
#include "usher/load/pacer.h"

#include <catch2/catch_test_macros.hpp>

using namespace usher;
using namespace usher::load;
using namespace std::chrono_literals;

namespace {

const TimePoint start{1000s};

}  // namespace

TEST_CASE("a rate is kept to the nanosecond over a billion requests") {
  Pacer pacer(start, 3.0);
  CHECK(pacer.take() == start);
  CHECK(pacer.next() == start + 333333333ns);
  for (int i = 1; i < 3'000'000; ++i) pacer.take();
  CHECK(pacer.take() == start + 1'000'000s);
}

TEST_CASE("threads share a rate in turns") {
  Pacer first(start, 1000, 0, 2);
  Pacer second(start, 1000, 1, 2);
  CHECK(first.take() == start);
  CHECK(second.take() == start + 1ms);
  CHECK(first.take() == start + 2ms);
  CHECK(second.take() == start + 3ms);
}

TEST_CASE("a stall of the target is charged to every request that was due meanwhile") {
  Pacer pacer(start, 100);
  CHECK(pacer.due(start));
  pacer.take();
  // No connection is free for 50 ms; then the answers come at once.
  const TimePoint later = start + 50ms;
  Duration longest{};
  int sent = 0;
  while (pacer.due(later)) {
    longest = std::max(longest, later - pacer.take());
    ++sent;
  }
  CHECK(sent == 5);
  CHECK(longest == 40ms);
}

TEST_CASE("late requests are counted once, and overdue until they are taken") {
  Pacer pacer(start, 100);
  pacer.take();
  pacer.note_none_free(start + 25ms);
  pacer.note_none_free(start + 25ms);
  CHECK(pacer.late() == 2);
  CHECK(pacer.overdue() == 2);
  pacer.take();
  CHECK(pacer.overdue() == 1);
  pacer.note_none_free(start + 30ms);
  CHECK(pacer.late() == 3);
  pacer.take();
  pacer.take();
  CHECK(pacer.overdue() == 0);
  CHECK(pacer.late() == 3);
}

TEST_CASE("what nobody wanted is skipped, not sent in a burst") {
  Pacer pacer(start, 1000);
  pacer.take();
  pacer.skip_to(start + 1s);
  CHECK(pacer.next() == start + 1001ms);
  CHECK(pacer.late() == 0);
  pacer.skip_to(start);  // never back
  CHECK(pacer.next() == start + 1001ms);
}
