// A pool for tests: a board, and backends on it that are all enabled and healthy to begin with.
#pragma once

#include <fmt/format.h>

#include <array>
#include <catch2/catch_get_random_seed.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "usher/policy/board.h"
#include "usher/policy/picker.h"

namespace usher::test {

inline constexpr std::array algorithms{
    Algorithm::round_robin,   Algorithm::random,      Algorithm::two_choices, Algorithm::least_connections,
    Algorithm::least_latency, Algorithm::source_hash, Algorithm::maglev};

inline PickerOptions options(Algorithm algorithm, double panic_threshold = 0.0) {
  PickerOptions chosen;
  chosen.algorithm = algorithm;
  chosen.panic_threshold = panic_threshold;
  return chosen;
}

struct Pool {
  explicit Pool(std::span<const std::uint32_t> weights) {
    for (const std::uint32_t weight : weights) {
      const auto number = static_cast<std::uint32_t>(backends.size());
      Backend backend;
      backend.id = BackendId{number};
      backend.name = fmt::format("backend-{}", number);
      backend.address = Endpoint::ipv4(0x7f000001, static_cast<std::uint16_t>(1024 + number));
      backend.weight = weight;
      backends.push_back(backend);
      board.set_enabled(backend.id, true);
      board.set_healthy(backend.id, true);
    }
  }
  Pool(std::size_t count, std::uint32_t weight) : Pool(std::vector<std::uint32_t>(count, weight)) {}

  [[nodiscard]] std::unique_ptr<const Picker> picker(Algorithm algorithm, double panic_threshold = 0.0) const {
    return make_picker(options(algorithm, panic_threshold), backends, board);
  }
  BackendCell& cell(std::size_t number) { return board[backends[number].id]; }
  /// Sessions come and go until there are so many.
  void set_active(std::size_t number, std::uint32_t wanted) {
    while (cell(number).active < wanted) board.enter(backends[number].id);
    while (cell(number).active > wanted) board.leave(backends[number].id);
  }

  Board board;
  std::vector<Backend> backends;
};

/// The first candidate, or nothing.
inline std::optional<std::uint32_t> first(const Picker& picker, std::uint64_t key, Rng& rng, TimePoint now = Clock::now()) {
  std::array<std::uint32_t, 3> order{};
  if (picker.pick(key, now, rng, order) == 0) return std::nullopt;
  return order[0];
}

/// How often each backend comes first, when keys are random.
inline std::vector<std::uint64_t> tally(const Picker& picker, std::size_t backends, std::size_t picks, Rng& rng) {
  std::vector<std::uint64_t> hits(backends, 0);
  for (std::size_t at = 0; at < picks; ++at) ++hits.at(first(picker, rng(), rng).value());
  return hits;
}

/// Pearson's statistic of `hits` against shares by weight; who weighs 0 must have none.
inline double chi_square(std::span<const std::uint64_t> hits, std::span<const std::uint32_t> weights) {
  double total_hits = 0;
  double total_weight = 0;
  for (std::size_t at = 0; at < hits.size(); ++at) {
    total_hits += static_cast<double>(hits[at]);
    total_weight += weights[at];
  }
  double statistic = 0;
  for (std::size_t at = 0; at < hits.size(); ++at) {
    if (weights[at] == 0) {
      statistic += hits[at] == 0 ? 0.0 : 1e9;
      continue;
    }
    const double expected = total_hits * weights[at] / total_weight;
    const double off = static_cast<double>(hits[at]) - expected;
    statistic += off * off / expected;
  }
  return statistic;
}

/// With up to ten backends, a fair draw is above this less than once in a hundred million runs.
inline constexpr double chi_square_max = 56.0;
inline constexpr std::array<std::uint32_t, 10> ten_weights{10, 20, 30, 40, 50, 60, 70, 80, 90, 100};

}  // namespace usher::test
