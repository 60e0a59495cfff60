// maglev_slots: the table that the kernel datapath picks by.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "usher/policy/maglev.h"

using namespace usher;

namespace {

constexpr std::uint32_t table_size = 65537;

std::vector<Backend> pool_of(std::size_t count) {
  std::vector<Backend> backends;
  for (std::size_t i = 0; i < count; ++i) {
    backends.push_back(Backend{.id = BackendId{static_cast<std::uint32_t>(100 + i)}, .name = "b" + std::to_string(i), .address = {}});
  }
  return backends;
}

std::size_t share_of(const std::vector<std::uint32_t>& slots, std::uint32_t place) {
  return static_cast<std::size_t>(std::ranges::count(slots, place));
}

}  // namespace

TEST_CASE("maglev slots: everybody has an even share") {
  const auto backends = pool_of(10);
  const auto slots = maglev_slots(backends, std::vector<bool>(10, true), table_size);
  REQUIRE(slots.size() == table_size);
  for (std::uint32_t place = 0; place < 10; ++place) {
    CHECK(share_of(slots, place) >= table_size / 10 - 1);
    CHECK(share_of(slots, place) <= table_size / 10 + 1);
  }
}

TEST_CASE("maglev slots: shares follow weights, and weight 0 has none") {
  auto backends = pool_of(3);
  backends[0].weight = 300;
  backends[2].weight = 0;
  const auto slots = maglev_slots(backends, std::vector<bool>(3, true), table_size);
  CHECK(share_of(slots, 2) == 0);
  CHECK(share_of(slots, 0) > 3 * share_of(slots, 1) - 10);
  CHECK(share_of(slots, 0) < 3 * share_of(slots, 1) + 10);
}

TEST_CASE("maglev slots: who may not serve leaves its slots to the others, evenly, and nobody else's slot moves") {
  const auto backends = pool_of(10);
  std::vector<bool> may(10, true);
  const auto before = maglev_slots(backends, may, table_size);
  may[4] = false;
  const auto after = maglev_slots(backends, may, table_size);
  std::vector<std::size_t> gained(10);
  for (std::size_t slot = 0; slot < before.size(); ++slot) {
    if (before[slot] != 4) {
      REQUIRE(after[slot] == before[slot]);
    } else {
      ++gained[after[slot]];
    }
  }
  CHECK(gained[4] == 0);
  for (std::size_t place = 0; place < 10; ++place) {
    if (place != 4) CHECK(gained[place] > 600);  // of 6,554 among nine: 728 each
  }
  may[4] = true;
  CHECK(maglev_slots(backends, may, table_size) == before);
}

TEST_CASE("maglev slots: the order of the list doesn't matter") {
  auto backends = pool_of(5);
  const auto slots = maglev_slots(backends, std::vector<bool>(5, true), table_size);
  std::vector<std::string> names;
  for (const std::uint32_t place : slots) names.push_back(backends[place].name);
  std::ranges::reverse(backends);
  const auto reversed = maglev_slots(backends, std::vector<bool>(5, true), table_size);
  bool same = true;
  for (std::size_t slot = 0; slot < slots.size(); ++slot) same = same && backends[reversed[slot]].name == names[slot];
  CHECK(same);
}

TEST_CASE("maglev slots: nobody who may serve is an empty table") {
  CHECK(maglev_slots(pool_of(3), std::vector<bool>(3, false), table_size).empty());
  CHECK(maglev_slots({}, {}, table_size).empty());
}

TEST_CASE("maglev slots: who alone may serve has every slot") {
  const std::vector<bool> may{false, true, false};
  const auto slots = maglev_slots(pool_of(3), may, table_size);
  REQUIRE(slots.size() == table_size);
  CHECK(share_of(slots, 1) == table_size);
}
