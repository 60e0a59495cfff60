// Reminders: each slot once, in time, and again only when it asks again.
#include "worker/reminders.h"

#include <vector>

#include <catch2/catch_test_macros.hpp>

using namespace usher;
using namespace std::chrono_literals;

namespace {

std::vector<std::uint32_t> taken(Reminders& reminders, TimePoint now) {
  std::vector<std::uint32_t> slots;
  reminders.take(now, [&](std::uint32_t slot) { slots.push_back(slot); });
  return slots;
}

}  // namespace

TEST_CASE("a slot is reminded of once, however often it was added, and not before its time") {
  Reminders reminders(8, 10ms);
  const TimePoint start{1h};
  CHECK_FALSE(reminders.due().has_value());
  reminders.add(3, start);
  reminders.add(3, start + 1ms);
  reminders.add(5, start + 2ms);
  CHECK(reminders.due() == start + 10ms);
  CHECK(taken(reminders, start + 9ms).empty());
  CHECK(taken(reminders, start + 10ms) == std::vector<std::uint32_t>{3, 5});
  CHECK_FALSE(reminders.due().has_value());
  CHECK(taken(reminders, start + 1h).empty());
}

TEST_CASE("a slot may ask again while it is looked at") {
  Reminders reminders(2, 10ms);
  const TimePoint start{1h};
  reminders.add(0, start);
  reminders.add(1, start);
  reminders.take(start + 10ms, [&](std::uint32_t slot) {
    if (slot == 0) {
      reminders.add(0, start + 10ms);
      reminders.add(1, start + 10ms);
    }
  });
  CHECK(reminders.due() == start + 20ms);
  CHECK(taken(reminders, start + 20ms) == std::vector<std::uint32_t>{0, 1});
}
