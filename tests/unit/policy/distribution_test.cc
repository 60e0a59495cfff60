// round_robin, random and two_choices: shares come out by weight, also when somebody is missing.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <thread>

#include "pool.h"

using namespace usher;
using test::Pool;

namespace {

void check_within(std::span<const std::uint64_t> hits, std::span<const std::uint32_t> weights, double part) {
  double total_hits = 0;
  double total_weight = 0;
  for (std::size_t at = 0; at < hits.size(); ++at) {
    total_hits += static_cast<double>(hits[at]);
    total_weight += weights[at];
  }
  for (std::size_t at = 0; at < hits.size(); ++at) {
    CAPTURE(at, weights[at], hits[at]);
    const double expected = total_hits * weights[at] / total_weight;
    CHECK(std::abs(static_cast<double>(hits[at]) - expected) <= part * expected);
  }
}

std::vector<std::uint64_t> tally_by_threads(const Picker& picker, std::size_t backends, int threads,
                                            std::size_t picks) {
  std::vector<std::vector<std::uint64_t>> parts(static_cast<std::size_t>(threads));
  {
    std::vector<std::jthread> running;
    for (std::size_t thread = 0; thread < parts.size(); ++thread) {
      running.emplace_back([&, thread] {
        Rng rng(thread);
        parts[thread] = test::tally(picker, backends, picks, rng);
      });
    }
  }
  std::vector<std::uint64_t> hits(backends, 0);
  for (const auto& part : parts) std::transform(part.begin(), part.end(), hits.begin(), hits.begin(), std::plus{});
  return hits;
}

/// The most sessions per weight that anybody has, over the mean, once `sessions` have come and stayed.
double fullest_over_mean(Pool& pool, const Picker& picker, std::size_t sessions, Rng& rng) {
  double weight = 0;
  for (const Backend& backend : pool.backends) weight += backend.weight;
  for (std::size_t at = 0; at < sessions; ++at) ++pool.cell(test::first(picker, rng(), rng).value()).active;
  double fullest = 0;
  for (std::size_t at = 0; at < pool.backends.size(); ++at) {
    fullest = std::max(fullest, static_cast<double>(pool.cell(at).active) / pool.backends[at].weight);
    pool.set_active(at, 0);
  }
  return fullest / (static_cast<double>(sessions) / weight);
}

}  // namespace

TEST_CASE("round_robin: 10,000 picks over ten weighted backends come out within 2 %") {
  const Pool pool(test::ten_weights);
  Rng rng(1);
  check_within(test::tally(*pool.picker(Algorithm::round_robin), 10, 10'000, rng), test::ten_weights, 0.02);
}

TEST_CASE("round_robin: whole rounds shared by four threads come out exactly") {
  const Pool pool(test::ten_weights);
  const auto picker = pool.picker(Algorithm::round_robin);
  check_within(tally_by_threads(*picker, 10, 4, 2'500), test::ten_weights, 0.02);
  const auto again = pool.picker(Algorithm::round_robin);
  const auto hits = tally_by_threads(*again, 10, 4, 55 * 50);  // 55 picks a round
  for (std::size_t at = 0; at < 10; ++at) CHECK(hits[at] == 200 * (at + 1));
}

TEST_CASE("round_robin: the share of a dead backend is spread by weight, not handed to its neighbour") {
  Pool pool(test::ten_weights);
  auto weights = test::ten_weights;
  const auto picker = pool.picker(Algorithm::round_robin);
  const std::size_t dead = GENERATE(0, 4, 9);
  pool.board.set_healthy(BackendId{static_cast<std::uint32_t>(dead)}, false);
  weights[dead] = 0;
  Rng rng(1);
  check_within(test::tally(*picker, 10, 10'000, rng), weights, 0.02);

  Pool equal(10, 100);
  const auto equal_picker = equal.picker(Algorithm::round_robin);
  equal.board.set_healthy(BackendId{3}, false);
  const auto hits = test::tally(*equal_picker, 10, 9'000, rng);
  for (std::size_t at = 0; at < 10; ++at) {
    CHECK(hits[at] >= (at == 3 ? 0U : 998U));
    CHECK(hits[at] <= (at == 3 ? 0U : 1'002U));
  }
}

TEST_CASE("round_robin: retries after a dead backend's dial don't all go to its neighbour") {
  const Pool pool(10, 100);
  const auto picker = pool.picker(Algorithm::round_robin);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng rng(seed);
  std::vector<std::uint64_t> second(10, 0);
  std::array<std::uint32_t, 2> order{};
  for (int pick = 0; pick < 100'000; ++pick) {
    REQUIRE(picker->pick(0, Clock::now(), rng, order) == 2);
    if (order[0] == 4) ++second[order[1]];
  }
  std::vector<std::uint32_t> others(10, 1);
  others[4] = 0;
  CHECK(test::chi_square(second, others) < test::chi_square_max);
}

TEST_CASE("random and two_choices on idle backends draw by weight, also with some out") {
  const Algorithm algorithm = GENERATE(Algorithm::random, Algorithm::two_choices);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(name(algorithm), seed);
  Rng rng(seed);
  Pool pool(test::ten_weights);
  auto weights = test::ten_weights;
  const auto picker = pool.picker(algorithm);
  CHECK(test::chi_square(test::tally(*picker, 10, 100'000, rng), weights) < test::chi_square_max);
  for (const std::size_t out : {1, 8, 9}) {
    pool.board.set_enabled(BackendId{static_cast<std::uint32_t>(out)}, false);
    weights[out] = 0;
    CHECK(test::chi_square(test::tally(*picker, 10, 100'000, rng), weights) < test::chi_square_max);
  }
}

TEST_CASE("where nearly all are out, the few left are still drawn by weight") {
  const Algorithm algorithm = GENERATE(Algorithm::round_robin, Algorithm::random, Algorithm::two_choices);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(name(algorithm), seed);
  Rng rng(seed);
  std::vector<std::uint32_t> weights(500, 50);
  Pool pool(weights);
  const auto picker = pool.picker(algorithm);
  std::vector<std::uint32_t> left(500, 0);
  for (const std::size_t at : {3, 4, 5, 200, 499}) left[at] = 50;
  for (std::uint32_t at = 0; at < 500; ++at) pool.board.set_healthy(BackendId{at}, left[at] > 0);
  CHECK(test::chi_square(test::tally(*picker, 500, 10'000, rng), left) < test::chi_square_max);
}

TEST_CASE("two_choices: as many sessions as backends leave nobody with more than five") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng rng(seed);
  Pool pool(1'000, 100);
  const auto two = pool.picker(Algorithm::two_choices);
  const auto one = pool.picker(Algorithm::random);
  double two_sum = 0;
  double one_sum = 0;
  for (int round = 0; round < 20; ++round) {
    const double fullest = fullest_over_mean(pool, *two, 1'000, rng);
    CHECK(fullest <= 5.0);
    two_sum += fullest;
    one_sum += fullest_over_mean(pool, *one, 1'000, rng);
  }
  CHECK(two_sum < 0.75 * one_sum);
}

TEST_CASE("two_choices: load settles by weight") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng rng(seed);
  Pool pool(test::ten_weights);
  CHECK(fullest_over_mean(pool, *pool.picker(Algorithm::two_choices), 11'000, rng) < 1.1);
}

TEST_CASE("two_choices: of two backends the fuller one is never first") {
  Pool pool(2, 100);
  pool.cell(1).active = 1;
  Rng rng(1);
  const auto hits = test::tally(*pool.picker(Algorithm::two_choices), 2, 1'000, rng);
  CHECK(hits == std::vector<std::uint64_t>{1'000, 0});
}
