// What holds for every algorithm: who may be a candidate (tier, panic, room, weight), each once, and in which number.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <map>
#include <set>

#include "pool.h"

using namespace usher;
using test::Pool;

namespace {

std::set<std::uint32_t> all_candidates(const Picker& picker, std::size_t backends, Rng& rng) {
  std::vector<std::uint32_t> order(backends + 1);
  const std::size_t count = picker.pick(rng(), Clock::now(), rng, order);
  std::set<std::uint32_t> found(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
  REQUIRE(found.size() == count);
  return found;
}

/// The contract of Picker::pick once more, in the plainest words.
std::set<std::uint32_t> usable(const Pool& pool, double panic_threshold) {
  std::map<std::uint32_t, std::vector<std::uint32_t>> tiers;
  for (std::uint32_t at = 0; at < pool.backends.size(); ++at) {
    if (pool.backends[at].weight > 0) tiers[pool.backends[at].tier].push_back(at);
  }
  for (const bool nobody_healthy : {false, true}) {
    for (const auto& [tier, members] : tiers) {
      double enabled = 0;
      double healthy = 0;
      for (const std::uint32_t at : members) {
        const BackendCell& cell = pool.board[pool.backends[at].id];
        enabled += cell.enabled ? 1 : 0;
        healthy += cell.enabled && cell.healthy ? 1 : 0;
      }
      if (enabled == 0 || (healthy == 0) != nobody_healthy) continue;
      const bool panic = healthy / enabled < panic_threshold;
      std::set<std::uint32_t> found;
      for (const std::uint32_t at : members) {
        const BackendCell& cell = pool.board[pool.backends[at].id];
        const bool room = cell.max_connections == 0 || cell.active < cell.max_connections;
        if (cell.enabled && (cell.healthy || panic) && room) found.insert(at);
      }
      if (!found.empty()) return found;
    }
  }
  return {};
}

void shake(Pool& pool, Rng& rng) {
  for (std::size_t at = 0; at < pool.backends.size(); ++at) {
    pool.board.set_enabled(pool.backends[at].id, rng.below(8) != 0);
    pool.board.set_healthy(pool.backends[at].id, rng.below(3) != 0);
    pool.set_active(at, static_cast<std::uint32_t>(rng.below(4)));
    pool.board.set_max_connections(pool.backends[at].id, static_cast<std::uint32_t>(rng.below(4)));
    pool.cell(at).latency_ns = rng.below(2) * 1'000'000;
  }
}

}  // namespace

TEST_CASE("an empty pool has no candidates, nor has an empty order") {
  const Algorithm algorithm = GENERATE(from_range(test::algorithms));
  CAPTURE(name(algorithm));
  Rng rng(1);
  CHECK_FALSE(test::first(*Pool(0, 100).picker(algorithm), 1, rng));
  const Pool pool(3, 100);
  CHECK(pool.picker(algorithm)->pick(1, Clock::now(), rng, {}) == 0);
}

TEST_CASE("weight 0 gets nothing, also where all weigh 0, and also in panic") {
  const Algorithm algorithm = GENERATE(from_range(test::algorithms));
  CAPTURE(name(algorithm));
  Rng rng(1);
  Pool pool(std::vector<std::uint32_t>{100, 0, 1});
  CHECK(all_candidates(*pool.picker(algorithm), 3, rng) == std::set<std::uint32_t>{0, 2});
  for (const Backend& backend : pool.backends) pool.board.set_healthy(backend.id, false);
  CHECK(all_candidates(*pool.picker(algorithm, 0.5), 3, rng) == std::set<std::uint32_t>{0, 2});
  CHECK_FALSE(test::first(*Pool(2, 0).picker(algorithm), 1, rng));
}

TEST_CASE("a higher tier serves only while no lower one is ready") {
  const Algorithm algorithm = GENERATE(from_range(test::algorithms));
  CAPTURE(name(algorithm));
  Rng rng(1);
  Pool pool(6, 100);
  for (std::size_t at = 0; at < 6; ++at) pool.backends[at].tier = at < 3 ? 7 : 2;  // the list needn't be sorted
  const auto picker = pool.picker(algorithm);
  using Found = std::set<std::uint32_t>;
  CHECK(all_candidates(*picker, 6, rng) == Found{3, 4, 5});
  pool.board.set_healthy(BackendId{3}, false);
  pool.board.set_enabled(BackendId{4}, false);
  CHECK(all_candidates(*picker, 6, rng) == Found{5});
  pool.board.set_max_connections(BackendId{5}, 1);
  pool.set_active(5, 1);  // full: no flip, no epoch
  CHECK(all_candidates(*picker, 6, rng) == Found{0, 1, 2});
  pool.set_active(5, 0);
  CHECK(all_candidates(*picker, 6, rng) == Found{5});
  pool.board.set_healthy(BackendId{5}, false);
  CHECK(all_candidates(*picker, 6, rng) == Found{0, 1, 2});
  pool.board.set_enabled(BackendId{4}, true);
  CHECK(all_candidates(*picker, 6, rng) == Found{4});
}

TEST_CASE("panic starts strictly below the threshold, and asks for intent and room only") {
  const Algorithm algorithm = GENERATE(from_range(test::algorithms));
  CAPTURE(name(algorithm));
  Rng rng(1);
  Pool pool(11, 100);
  const auto picker = pool.picker(algorithm, 0.3);
  pool.board.set_enabled(BackendId{10}, false);  // not in the share: 10 are enabled
  for (std::uint32_t at = 3; at < 10; ++at) pool.board.set_healthy(BackendId{at}, false);
  CHECK(all_candidates(*picker, 11, rng) == std::set<std::uint32_t>{0, 1, 2});
  pool.board.set_healthy(BackendId{2}, false);
  pool.board.set_max_connections(BackendId{4}, 1);
  pool.set_active(4, 1);
  CHECK(all_candidates(*picker, 11, rng) == std::set<std::uint32_t>{0, 1, 2, 3, 5, 6, 7, 8, 9});
  pool.board.set_healthy(BackendId{2}, true);
  CHECK(all_candidates(*picker, 11, rng) == std::set<std::uint32_t>{0, 1, 2});
}

TEST_CASE("without a threshold nobody unhealthy is ever used") {
  const Algorithm algorithm = GENERATE(from_range(test::algorithms));
  CAPTURE(name(algorithm));
  Rng rng(1);
  Pool pool(4, 100);
  const auto picker = pool.picker(algorithm);
  for (const Backend& backend : pool.backends) pool.board.set_healthy(backend.id, false);
  CHECK_FALSE(test::first(*picker, 1, rng));
}

TEST_CASE("one usable backend among a thousand is found, every time") {
  const Algorithm algorithm = GENERATE(from_range(test::algorithms));
  CAPTURE(name(algorithm));
  Rng rng(1);
  Pool pool(1'000, 100);
  const auto picker = pool.picker(algorithm);
  for (const Backend& backend : pool.backends) pool.board.set_healthy(backend.id, backend.id.value == 617);
  for (int pick = 0; pick < 100; ++pick) REQUIRE(test::first(*picker, rng(), rng) == 617U);
}

TEST_CASE("in random pools the candidates are exactly those that the contract names, each once") {
  const Algorithm algorithm = GENERATE(from_range(test::algorithms));
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(name(algorithm), seed);
  Rng rng(seed);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::uint32_t> weights(1 + rng.below(40));
    for (std::uint32_t& weight : weights) weight = static_cast<std::uint32_t>(rng.below(5) * rng.below(200));
    Pool pool(weights);
    for (Backend& backend : pool.backends) backend.tier = static_cast<std::uint32_t>(rng.below(4));
    const double panic_threshold = rng.below(2) == 0 ? 0.0 : rng.unit();
    PickerOptions options = test::options(algorithm, panic_threshold);
    options.maglev_table_size = 251;
    const auto picker = make_picker(options, pool.backends, pool.board);
    for (int flip = 0; flip < 10; ++flip) {
      shake(pool, rng);
      const auto expected = usable(pool, panic_threshold);
      REQUIRE(all_candidates(*picker, weights.size(), rng) == expected);
      std::array<std::uint32_t, 3> order{};
      const std::size_t count = picker->pick(rng(), Clock::now(), rng, order);
      REQUIRE(count == std::min<std::size_t>(3, expected.size()));
      for (std::size_t at = 0; at < count; ++at) REQUIRE(expected.contains(order[at]));
      REQUIRE(std::set(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count)).size() == count);
    }
  }
}

TEST_CASE("indexes are into the list that was given, whatever the ids are") {
  const Algorithm algorithm = GENERATE(from_range(test::algorithms));
  CAPTURE(name(algorithm));
  Rng rng(1);
  Pool pool(5, 100);
  const std::vector<Backend> part{pool.backends[4], pool.backends[2]};
  const auto picker = make_picker(test::options(algorithm), part, pool.board);
  CHECK(all_candidates(*picker, 2, rng) == std::set<std::uint32_t>{0, 1});
  pool.board.set_enabled(BackendId{4}, false);
  CHECK(all_candidates(*picker, 2, rng) == std::set<std::uint32_t>{1});
}
