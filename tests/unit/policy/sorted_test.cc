// least_connections and least_latency with scores kept sorted: as good as a look at everybody, whatever came and went.
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <thread>

#include "policy/peak_ewma.h"
#include "pool.h"

using namespace usher;
using namespace std::chrono_literals;
using test::Pool;

namespace {

/// (active + 1) / weight, to be compared with others by `lighter`.
struct Load {
  std::uint64_t sessions;
  std::uint64_t weight;
};
bool lighter(Load a, Load b) { return a.sessions * b.weight < b.sessions * a.weight; }

Load load(Pool& pool, std::size_t at) { return {pool.cell(at).active + std::uint64_t{1}, pool.backends[at].weight}; }

/// The first three are three lightest of all that are ready, in order.
void require_lightest(Pool& pool, const Picker& picker, Rng& rng) {
  std::array<std::uint32_t, 3> order{};
  const std::size_t count = picker.pick(0, Clock::now(), rng, std::span(order).first(1 + rng.below(3)));
  std::vector<Load> loads;
  for (std::size_t at = 0; at < pool.backends.size(); ++at) {
    if (pool.board.ready(pool.backends[at].id)) loads.push_back(load(pool, at));
  }
  REQUIRE(count >= std::min<std::size_t>(1, loads.size()));
  std::partial_sort(loads.begin(), loads.begin() + static_cast<std::ptrdiff_t>(count), loads.end(), lighter);
  for (std::size_t at = 0; at < count; ++at) {
    REQUIRE(pool.board.ready(pool.backends[order[at]].id));
    REQUIRE_FALSE(lighter(loads[at], load(pool, order[at])));
    REQUIRE_FALSE(lighter(load(pool, order[at]), loads[at]));
  }
}

void change_something(Pool& pool, std::size_t at, Rng& rng) {
  const BackendId id = pool.backends[at].id;
  switch (rng.below(16)) {
    case 0:
      return pool.board.set_healthy(id, rng.below(2) == 0);
    case 1:
      return pool.board.set_enabled(id, rng.below(3) != 0);
    case 2:
      return pool.board.set_max_connections(id, static_cast<std::uint32_t>(rng.below(20)));
    case 3:
      return pool.set_active(at, static_cast<std::uint32_t>(rng.below(40)));
    default:
      if (rng.below(2) == 0 || pool.cell(at).active == 0) return pool.board.enter(id);
      return pool.board.leave(id);
  }
}

double latency_score(Pool& pool, std::size_t at, TimePoint now) {
  const BackendCell& cell = pool.cell(at);
  const Duration age = now - TimePoint(Duration(cell.latency_at_ns.load()));
  return static_cast<double>(cell.latency_ns.load()) * peak_ewma_left(age) * (cell.active + 1.0) /
         pool.backends[at].weight;
}

}  // namespace

TEST_CASE("least_connections: after any changes, through any of three pickers, candidates are the lightest, in order") {
  const std::uint32_t count = GENERATE(1U, 2U, 10U, 33U, 100U, 1'100U);
  const std::uint64_t weight_max = GENERATE(1U, 5U, 65'535U);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(count, weight_max, seed);
  Rng rng(seed);
  std::vector<std::uint32_t> weights(count);
  for (std::uint32_t& weight : weights) weight = static_cast<std::uint32_t>(1 + rng.below(weight_max));
  Pool pool(weights);
  std::array<std::unique_ptr<const Picker>, 3> pickers;
  for (auto& picker : pickers) picker = pool.picker(Algorithm::least_connections);
  for (int round = 0; round < 1'000; ++round) {
    for (std::uint64_t changes = rng.below(8); changes > 0; --changes) change_something(pool, rng.below(count), rng);
    require_lightest(pool, *pickers[rng.below(pickers.size())], rng);
  }
}

TEST_CASE("least_connections: more falls than the log holds, and more rises than a pick follows, hide nobody") {
  Pool pool(1'000, 100);
  const auto picker = pool.picker(Algorithm::least_connections);
  Rng rng(1);
  for (std::size_t at = 0; at < 1'000; ++at) pool.set_active(at, 4);
  require_lightest(pool, *picker, rng);
  for (std::size_t at = 0; at < 900; ++at) pool.set_active(at, 1);
  require_lightest(pool, *picker, rng);
  for (std::size_t at = 1; at < 1'000; ++at) pool.set_active(at, 9);
  require_lightest(pool, *picker, rng);
  CHECK(test::first(*picker, 0, rng) == 0U);
}

TEST_CASE("least_connections: a session that ends is heard of by the next pick, whatever other pools do") {
  Pool pool(200, 100);
  const std::span all(pool.backends);
  const auto options = test::options(Algorithm::least_connections);
  const auto mine = make_picker(options, all.first(100), pool.board);
  const auto other = make_picker(options, all.last(100), pool.board);
  Rng rng(1);
  for (std::size_t at = 0; at < 200; ++at) pool.set_active(at, 3);
  for (std::uint32_t session = 0; session < 3'000; ++session) {
    const auto at = static_cast<std::uint32_t>(rng.below(100));
    pool.board.leave(BackendId{at});
    REQUIRE(test::first(*mine, 0, rng) == at);
    pool.board.enter(BackendId{at});
    pool.board.leave(BackendId{100 + at});
    if (session % 64 == 0) REQUIRE(test::first(*other, 0, rng).has_value());
    pool.board.enter(BackendId{100 + at});
  }
}

TEST_CASE("least_connections: when threads that picked, came and went have stopped, nothing was missed") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng rng(seed);
  Pool pool(100, 100);
  const auto picker = pool.picker(Algorithm::least_connections);
  for (int round = 0; round < 50; ++round) {
    {
      std::vector<std::jthread> threads;
      for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, mine = Rng(rng())]() mutable {
          std::array<BackendId, 16> held{};
          for (int session = 0; session < 200; ++session) {
            BackendId& place = held[mine.below(held.size())];
            if (place != BackendId{}) pool.board.leave(place);
            place = pool.backends[*test::first(*picker, 0, mine)].id;
            pool.board.enter(place);
          }
          for (const BackendId& place : held) {
            if (place != BackendId{} && mine.below(2) == 0) pool.board.leave(place);
          }
        });
      }
    }
    require_lightest(pool, *picker, rng);
  }
}

TEST_CASE("least_connections: while threads come and go, nobody gets fuller than the mean and one race a thread") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  constexpr std::uint32_t threads_max = 4;
  constexpr std::uint32_t backends = 40;
  constexpr std::uint32_t mean = 10;  // the emptiest is never above it
  Pool pool(backends, 100);
  const auto picker = pool.picker(Algorithm::least_connections);
  std::atomic<std::uint32_t> fullest{0};
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t thread = 0; thread < threads_max; ++thread) {
      threads.emplace_back([&, mine = Rng(seed + thread)]() mutable {
        std::array<BackendId, backends * mean / threads_max> held{};
        std::uint32_t seen = 0;
        for (int session = 0; session < 5'000; ++session) {
          BackendId& place = held[mine.below(held.size())];
          if (place != BackendId{}) pool.board.leave(place);
          place = pool.backends[*test::first(*picker, 0, mine)].id;
          pool.board.enter(place);
          seen = std::max(seen, pool.board[place].active.load());
        }
        for (std::uint32_t known = fullest; known < seen && !fullest.compare_exchange_weak(known, seen);) continue;
      });
    }
  }
  // Each had looked while it stood at the mean or below, and then entered once.
  CHECK(fullest <= mean + threads_max);
}

TEST_CASE("least_latency: after any notes and sessions the choice is within the clock's step of the best") {
  const std::uint32_t count = GENERATE(2U, 40U, 300U);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(count, seed);
  Rng rng(seed);
  Pool pool(count, 100);
  const auto picker = pool.picker(Algorithm::least_latency);
  const TimePoint start = Clock::now();
  for (std::uint32_t at = 0; at < count; ++at) pool.board.note_latency(BackendId{at}, 10ms, start - 20s);
  for (int round = 0; round < 2'000; ++round) {
    const BackendId id = pool.backends[rng.below(count)].id;
    switch (rng.below(3)) {
      case 0:
        pool.board.enter(id);
        break;
      case 1:
        if (pool.board[id].active > 0) pool.board.leave(id);
        break;
      default: {
        const Duration took = 1us * static_cast<std::int64_t>(100 + rng.below(20'000));
        pool.board.note_latency(id, took, start - 1ms * static_cast<std::int64_t>(rng.below(10'000)));
      }
    }
    const std::uint32_t chosen = test::first(*picker, 0, rng).value();
    const TimePoint now = Clock::now();
    double best = latency_score(pool, 0, now);
    for (std::size_t at = 1; at < count; ++at) best = std::min(best, latency_score(pool, at, now));
    REQUIRE(latency_score(pool, chosen, now) <= best * 1.03);
  }
}

TEST_CASE("least_latency: what is known of a backend ages though nothing falls meanwhile") {
  Pool pool(20, 100);
  const auto picker = pool.picker(Algorithm::least_latency);
  const TimePoint start = Clock::now();
  for (std::uint32_t at = 2; at < 20; ++at) pool.board.note_latency(BackendId{at}, 1s, start);
  pool.board.note_latency(BackendId{0}, 900us, start + 1min);  // of a later time, so that it stays as it is
  pool.board.note_latency(BackendId{1}, 1'005us, start);
  Rng rng(1);
  REQUIRE(test::first(*picker, 0, rng, start) == 0U);
  pool.board.note_latency(BackendId{0}, 1'000us, start + 1min);  // up: nobody is told
  CHECK(test::first(*picker, 0, rng, start + 300ms) == 1U);  // two steps of the clock at least: 2 % of the other's are forgotten
  CHECK(test::first(*picker, 0, rng, start) == 1U);          // a worker whose turn began earlier sorts nothing back
}

TEST_CASE("least_latency: when threads that picked by clocks of their own have stopped, nothing was missed") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng rng(seed);
  constexpr std::uint32_t count = 100;
  Pool pool(count, 100);
  const auto picker = pool.picker(Algorithm::least_latency);
  const TimePoint start = Clock::now();
  for (std::uint32_t at = 0; at < count; ++at) pool.board.note_latency(BackendId{at}, 10ms, start);
  for (int round = 0; round < 50; ++round) {
    {
      std::vector<std::jthread> threads;
      for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, mine = Rng(rng()), now = start + 1s * round + 33ms * thread]() mutable {
          for (int session = 0; session < 200; ++session) {
            now += 1ms * static_cast<std::int64_t>(mine.below(5));
            const BackendId chosen = pool.backends[*test::first(*picker, 0, mine, now)].id;
            pool.board.enter(chosen);
            pool.board.note_latency(chosen, 1us * static_cast<std::int64_t>(100 + mine.below(20'000)), now);
            if (mine.below(4) != 0) pool.board.leave(chosen);
          }
        });
      }
    }
    const TimePoint now = start + 1s * (round + 1);
    const std::uint32_t chosen = test::first(*picker, 0, rng, now).value();
    double best = latency_score(pool, 0, now);
    for (std::size_t at = 1; at < count; ++at) best = std::min(best, latency_score(pool, at, now));
    REQUIRE(latency_score(pool, chosen, now) <= best * 1.03);
  }
}
