// LeastTree: always the least, however keys change, and a draw that favours nobody.
#include "policy/least_tree.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>

#include "pool.h"

using namespace usher;

namespace {

LeastTree::Key random_key(Rng& rng) {
  return rng.below(8) == 0 ? LeastTree::absent : static_cast<LeastTree::Key>(rng.below(6));
}

/// Pearson's statistic of 100 draws a tied position, less its mean, in its standard deviations: beyond six is no
/// chance.
double unfairness(const LeastTree& tree, const std::vector<LeastTree::Key>& keys, Rng& rng) {
  const auto tied = static_cast<std::size_t>(std::ranges::count(keys, tree.least()));
  std::vector<std::uint32_t> hits(keys.size(), 0);
  for (std::size_t draw = 0; draw < 100 * tied; ++draw) ++hits.at(tree.draw(rng));
  double statistic = 0;
  for (std::size_t position = 0; position < keys.size(); ++position) {
    if (keys[position] != tree.least()) {
      REQUIRE(hits[position] == 0);
      continue;
    }
    statistic += (hits[position] - 100.0) * (hits[position] - 100.0) / 100.0;
  }
  const double freedom = static_cast<double>(tied) - 1.0;
  return (statistic - freedom) / std::sqrt(2.0 * std::max(freedom, 1.0));
}

}  // namespace

TEST_CASE("a tree of keys that change one by one agrees with a look at all of them") {
  const std::uint32_t count = GENERATE(1U, 2U, 31U, 32U, 33U, 1'000U, 1'024U, 1'025U, 5'000U);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(count, seed);
  Rng rng(seed);
  LeastTree tree(count);
  std::vector<LeastTree::Key> keys(count, LeastTree::absent);
  CHECK(tree.least() == LeastTree::absent);
  for (int change = 0; change < 5'000; ++change) {
    const auto position = static_cast<std::uint32_t>(rng.below(count));
    keys[position] = random_key(rng);
    tree.set(position, keys[position]);
    const LeastTree::Key least = *std::ranges::min_element(keys);
    REQUIRE(tree.least() == least);
    if (least != LeastTree::absent) REQUIRE(keys[tree.draw(rng)] == least);
  }
}

TEST_CASE("a tree whose keys were all replaced counts as one that was filled by hand") {
  const std::uint32_t count = GENERATE(1U, 33U, 1'000U, 1'025U, backend_count_max);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(count, seed);
  Rng rng(seed);
  LeastTree tree(count);
  for (LeastTree::Key& key : tree.keys()) key = random_key(rng);
  tree.keys()[count - 1] = -1;
  tree.rebuild();
  CHECK(tree.least() == -1);
  CHECK(tree.draw(rng) == count - 1);
  tree.set(count - 1, LeastTree::absent);
  for (std::uint32_t position = 0; position < count; ++position) tree.set(position, LeastTree::absent);
  CHECK(tree.least() == LeastTree::absent);
}

TEST_CASE("all who share the least are drawn alike, few or many, together or apart") {
  const std::uint32_t count = GENERATE(2U, 32U, 33U, 65U, 1'000U, 1'500U);
  const std::uint64_t one_in = GENERATE(1U, 2U, 10U, 100U);
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(count, one_in, seed);
  Rng rng(seed);
  LeastTree tree(count);
  std::vector<LeastTree::Key> keys(count, 7);
  for (std::uint32_t position = 0; position < count; ++position) {
    if (position + 1 == count || position < 8 || rng.below(one_in) == 0) keys[position] = 3;
    tree.set(position, keys[position]);
  }
  CHECK(unfairness(tree, keys, rng) < 6.0);
  for (std::uint32_t position = 0; position < std::min(8U, count - 1); ++position) {
    keys[position] = 4;
    tree.set(position, 4);
  }
  CHECK(unfairness(tree, keys, rng) < 6.0);
}
