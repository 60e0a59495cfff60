// Turns: weights laid out in time.
#include "policy/turns.h"

#include <algorithm>
#include <numeric>

namespace usher {
namespace {

constexpr std::uint64_t nginx_steps_max = 1U << 22;  // a few milliseconds; its cost is length times backends

std::uint64_t sum(std::span<const std::uint32_t> weights) {
  return std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
}

std::vector<std::uint32_t> reduced(std::span<const std::uint32_t> weights) {
  std::vector<std::uint32_t> small(weights.begin(), weights.end());
  const auto divide = [&small] {
    const std::uint32_t common = std::accumulate(small.begin(), small.end(), 0U,
                                                 [](std::uint32_t a, std::uint32_t b) { return std::gcd(a, b); });
    for (std::uint32_t& weight : small) weight /= common;
  };
  divide();
  const std::uint64_t length_max = std::max(smooth_length_max, 64 * std::uint64_t{small.size()});
  if (const std::uint64_t total = sum(small); total > length_max) {
    for (std::uint32_t& weight : small) {
      weight = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, (weight * length_max + total / 2) / total));
    }
    divide();
  }
  return small;
}

std::vector<Position> nginx_sequence(std::span<const std::uint32_t> weights, std::uint64_t total) {
  std::vector<std::int64_t> credit(weights.size(), 0);
  std::vector<Position> sequence(total);
  for (Position& turn : sequence) {
    std::size_t richest = 0;
    for (std::size_t at = 0; at < weights.size(); ++at) {
      credit[at] += weights[at];
      if (credit[at] > credit[richest]) richest = at;
    }
    credit[richest] -= static_cast<std::int64_t>(total);
    turn = static_cast<Position>(richest);
  }
  return sequence;
}

}  // namespace

// A counting sort, as there are about as many rounds as turns.
std::vector<Position> spaced_turns(std::span<const std::uint32_t> weights, std::uint64_t unit, std::uint32_t rounds) {
  const auto for_each_turn = [&](std::size_t position, auto&& visit) {
    const std::uint64_t divisor = 2 * std::uint64_t{weights[position]};
    for (std::uint64_t at = unit;; at += 2 * unit) {
      const std::uint64_t round = at / divisor;
      if (round >= rounds) return;
      visit(round);
    }
  };
  std::vector<std::uint32_t> starts(std::size_t{rounds} + 1, 0);
  for (std::size_t position = 0; position < weights.size(); ++position) {
    for_each_turn(position, [&](std::uint64_t round) { ++starts[round + 1]; });
  }
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  std::vector<Position> turns(starts.back());
  for (std::size_t position = 0; position < weights.size(); ++position) {
    for_each_turn(position, [&](std::uint64_t round) { turns[starts[round]++] = static_cast<Position>(position); });
  }
  return turns;
}

std::vector<Position> smooth_sequence(std::span<const std::uint32_t> weights) {
  const std::vector<std::uint32_t> small = reduced(weights);
  const std::uint64_t total = sum(small);
  if (total * small.size() <= nginx_steps_max) return nginx_sequence(small, total);
  return spaced_turns(small, total, static_cast<std::uint32_t>(total));
}

}  // namespace usher
