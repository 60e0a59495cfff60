// Turns and the alias table: weights become exact shares, evenly spaced.
#include "policy/turns.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <numeric>

#include "policy/alias_table.h"
#include "pool.h"

using namespace usher;

namespace {

std::vector<std::uint64_t> counts(std::span<const Position> turns, std::size_t backends) {
  std::vector<std::uint64_t> hits(backends, 0);
  for (const Position turn : turns) ++hits.at(turn);
  return hits;
}

/// The most turns that pass between two of the same backend's, going round.
std::size_t widest_gap(std::span<const Position> turns, Position backend) {
  std::size_t widest = 0;
  std::size_t gap = 0;
  for (std::size_t at = 0; at < 2 * turns.size(); ++at) {
    ++gap;
    if (turns[at % turns.size()] != backend) continue;
    widest = std::max(widest, gap);
    gap = 0;
  }
  return std::max(widest, gap);
}

}  // namespace

TEST_CASE("weights 5, 1, 1 go round as in nginx: a a b a c a a") {
  const std::vector<std::uint32_t> weights{5, 1, 1};
  CHECK(smooth_sequence(weights) == std::vector<Position>{0, 0, 1, 0, 2, 0, 0});
}

TEST_CASE("a common divisor doesn't make the sequence longer") {
  const std::vector<std::uint32_t> equal{100, 100, 100};
  CHECK(smooth_sequence(equal) == std::vector<Position>{0, 1, 2});
  const std::vector<std::uint32_t> lone{65535};
  CHECK(smooth_sequence(lone) == std::vector<Position>{0});
}

TEST_CASE("weights too large to lay out are scaled down to within one part in a hundred") {
  const std::vector<std::uint32_t> weights{65535, 65534, 40001, 20011, 10007, 65521};
  const auto sequence = smooth_sequence(weights);
  CHECK(sequence.size() <= smooth_length_max + weights.size());
  const auto hits = counts(sequence, weights.size());
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t at = 0; at < weights.size(); ++at) {
    const double expected = weights[at] / total;
    CHECK(std::abs(static_cast<double>(hits[at]) / static_cast<double>(sequence.size()) - expected) < 0.01 * expected);
  }
}

TEST_CASE("nobody is scaled down to nothing") {
  std::vector<std::uint32_t> weights(100, 65535);
  weights[50] = 1;
  CHECK(counts(smooth_sequence(weights), weights.size())[50] == 1);
}

TEST_CASE("a thousand backends of odd weights still have exact shares, spread out") {
  std::vector<std::uint32_t> weights(1'000);
  for (std::uint32_t at = 0; at < weights.size(); ++at) weights[at] = 1 + at % 61;
  const auto sequence = smooth_sequence(weights);
  const auto hits = counts(sequence, weights.size());
  CHECK(std::equal(hits.begin(), hits.end(), weights.begin(), weights.end()));
  for (const Position backend : {Position{0}, Position{7}, Position{60}, Position{999}}) {
    CAPTURE(backend, weights[backend]);
    // Whole rounds are shared by up to a thousand, so a turn may be that much late.
    CHECK(widest_gap(sequence, backend) <= sequence.size() / weights[backend] + weights.size());
  }
}

TEST_CASE("the alias table's columns hold the weights exactly") {
  const std::vector<std::uint32_t> weights{1, 65535, 3, 100, 100, 7777, 20, 1};
  const AliasTable table(weights);
  std::vector<double> share(weights.size(), 0.0);
  constexpr std::uint64_t steps = 65536;  // a grid over the 64 bits: each column, and 2^16 heights in it
  for (std::uint64_t column = 0; column < weights.size(); ++column) {
    const std::uint64_t high = (2 * column + 1) * (std::uint64_t{1} << 31) / weights.size();
    for (std::uint64_t step = 0; step < steps; ++step) share[table.at(high << 32 | step << 16)] += 1.0 / steps;
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t at = 0; at < weights.size(); ++at) {
    CAPTURE(at);
    const double expected = weights[at] / total * static_cast<double>(weights.size());
    CHECK(std::abs(share[at] - expected) <= 8.0 / steps);  // a grid step a column
  }
}
