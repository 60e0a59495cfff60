// least_connections and least_latency: the best of all, over all workers, without stampedes.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <set>
#include <thread>

#include "pool.h"

using namespace usher;
using namespace std::chrono_literals;
using test::Pool;

namespace {

struct Spread {
  std::uint32_t least = ~std::uint32_t{0};
  std::uint32_t most = 0;
};

Spread spread(Pool& pool) {
  Spread found;
  for (std::size_t at = 0; at < pool.backends.size(); ++at) {
    found.least = std::min(found.least, pool.cell(at).active.load());
    found.most = std::max(found.most, pool.cell(at).active.load());
  }
  return found;
}

}  // namespace

TEST_CASE("least_connections: ten workers that share the board are as good as one") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng world(seed);
  Pool pool(50, 100);
  struct Worker {
    std::unique_ptr<const Picker> picker;
    Rng rng;
  };
  std::vector<Worker> workers;
  for (std::uint64_t at = 0; at < 10; ++at)
    workers.push_back({pool.picker(Algorithm::least_connections), Rng(seed + at)});
  for (int session = 1; session <= 5'000; ++session) {
    Worker& worker = workers[world.below(10)];
    ++pool.cell(test::first(*worker.picker, 0, worker.rng).value()).active;
    const Spread now = spread(pool);
    REQUIRE(now.most - now.least <= 1);
  }
}

TEST_CASE("least_connections: ten threads that come and go end as even as their races allow") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Pool pool(20, 100);
  const auto picker = pool.picker(Algorithm::least_connections);
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t thread = 0; thread < 10; ++thread) {
      threads.emplace_back([&, thread] {
        Rng rng(seed + thread);
        for (int session = 0; session < 1'000; ++session) {
          const std::uint32_t chosen = *test::first(*picker, 0, rng);
          pool.board.enter(BackendId{chosen});
          if (session % 4 == 3) pool.board.leave(BackendId{chosen});
        }
      });
    }
  }
  const Spread now = spread(pool);
  CHECK(now.most - now.least <= 11);  // each of ten may have looked before the other nine counted theirs
}

TEST_CASE("least_connections: workers that look at the same moment choose different ones") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng rng(seed);
  const Pool pool(100, 100);
  const auto picker = pool.picker(Algorithm::least_connections);
  std::size_t different = 0;
  for (int moment = 0; moment < 1'000; ++moment) {
    std::set<std::uint32_t> chosen;
    for (int worker = 0; worker < 10; ++worker) chosen.insert(*test::first(*picker, 0, rng));
    different += chosen.size();
  }
  CHECK(different > 9'450);  // a fair draw: 9,562, give or take 20
}

TEST_CASE("least_connections and least_latency: equals share evenly") {
  const Algorithm algorithm = GENERATE(Algorithm::least_connections, Algorithm::least_latency);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(name(algorithm), seed);
  Rng rng(seed);
  Pool pool(10, 100);
  pool.set_active(3, 1);  // the neighbour of somebody worse is nothing special
  const auto hits = test::tally(*pool.picker(algorithm), 10, 100'000, rng);
  std::vector<std::uint32_t> shares(10, 1);
  shares[3] = 0;
  CHECK(test::chi_square(hits, shares) < test::chi_square_max);
}

TEST_CASE("least_connections: sessions end up by weight") {
  Pool pool(test::ten_weights);
  const auto picker = pool.picker(Algorithm::least_connections);
  Rng rng(1);
  for (int session = 0; session < 5'500; ++session) ++pool.cell(*test::first(*picker, 0, rng)).active;
  for (std::size_t at = 0; at < 10; ++at) {
    CAPTURE(at);
    CHECK(std::abs(static_cast<double>(pool.cell(at).active) - 10.0 * test::ten_weights[at]) <= 1.0);
  }
}

TEST_CASE("least_connections: the next candidates are the next best") {
  Pool pool(20, 100);
  for (std::size_t at = 0; at < 20; ++at) pool.set_active(at, static_cast<std::uint32_t>((at * 7) % 20));
  std::array<std::uint32_t, 5> order{};
  Rng rng(1);
  REQUIRE(pool.picker(Algorithm::least_connections)->pick(0, Clock::now(), rng, order) == 5);
  for (std::uint32_t at = 0; at < 5; ++at) CHECK(pool.cell(order[at]).active == at);
}

TEST_CASE("least_latency: latency times load over weight decides") {
  Pool pool(std::vector<std::uint32_t>{100, 100, 100});
  const auto picker = pool.picker(Algorithm::least_latency);
  const TimePoint now = Clock::now();
  Rng rng(1);
  pool.board.note_latency(BackendId{0}, 5ms, now);
  pool.board.note_latency(BackendId{1}, 1ms, now);
  pool.board.note_latency(BackendId{2}, 20ms, now);
  std::array<std::uint32_t, 3> order{};
  REQUIRE(picker->pick(0, now, rng, order) == 3);
  CHECK(order == std::array<std::uint32_t, 3>{1, 0, 2});
  pool.set_active(1, 9);  // 10 ms
  REQUIRE(picker->pick(0, now, rng, order) == 3);
  CHECK(order == std::array<std::uint32_t, 3>{0, 1, 2});
  pool.backends[2].weight = 1'000;  // 2 ms, by a weight ten times as large
  REQUIRE(pool.picker(Algorithm::least_latency)->pick(0, now, rng, order) == 3);
  CHECK(order == std::array<std::uint32_t, 3>{2, 0, 1});
}

TEST_CASE("least_latency: an unknown is tried first, but by one at a time") {
  Pool pool(10, 100);
  const auto picker = pool.picker(Algorithm::least_latency);
  Rng rng(1);
  for (std::uint32_t at = 0; at < 9; ++at) pool.board.note_latency(BackendId{at}, 1ms, Clock::now());
  CHECK(test::first(*picker, 0, rng) == 9U);
  pool.set_active(9, 1);
  for (std::size_t at = 0; at < 9; ++at) pool.set_active(at, 1'000);
  for (int pick = 0; pick < 1'000; ++pick) REQUIRE(test::first(*picker, 0, rng) != 9U);
}

TEST_CASE("least_latency: where nothing is known yet, load decides") {
  Pool pool(10, 100);
  const auto picker = pool.picker(Algorithm::least_latency);
  Rng rng(1);
  for (int session = 0; session < 1'000; ++session) ++pool.cell(*test::first(*picker, 0, rng)).active;
  CHECK(spread(pool).most == 100);
  CHECK(spread(pool).least == 100);
}

TEST_CASE("least_latency: a backend that was slow once is tried again when that is long ago") {
  Pool pool(2, 100);
  const auto picker = pool.picker(Algorithm::least_latency);
  const TimePoint now = Clock::now();
  Rng rng(1);
  pool.board.note_latency(BackendId{0}, 1ms, now);
  pool.board.note_latency(BackendId{1}, 100ms, now);
  CHECK(test::first(*picker, 0, rng) == 0U);
  pool.board.note_latency(BackendId{1}, 100ms, now - 60s);  // e^-6 of it is left
  CHECK(test::first(*picker, 0, rng) == 1U);
}

TEST_CASE("least_latency: what is all forgotten is shared by load") {
  Pool pool(10, 100);
  const auto picker = pool.picker(Algorithm::least_latency);
  Rng rng(1);
  for (std::uint32_t at = 0; at < 10; ++at) pool.board.note_latency(BackendId{at}, 1ms * (at + 1), Clock::now() - 1h);
  for (int session = 0; session < 1'000; ++session) ++pool.cell(*test::first(*picker, 0, rng)).active;
  CHECK(spread(pool).most == 100);
}
