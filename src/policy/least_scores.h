// Scores of least_connections and least_latency, as keys that compare.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "policy/least_tree.h"
#include "policy/peak_ewma.h"
#include "usher/policy/board.h"

namespace usher {

/// Scores are at least 0; floats of one sign compare like their bits. A float tells loads apart that differ by one part
/// in 16 million. While active is below 2^24, equal loads of different weights come out as equals, though they are
/// multiplied by 1 / weight: a double's error never reaches across a boundary between two floats there.
[[nodiscard]] inline LeastTree::Key key_of_score(double score) noexcept {
  return std::bit_cast<LeastTree::Key>(static_cast<float>(score));
}

inline double load_of(const BackendCell& cell, double per_weight) noexcept {
  return (static_cast<double>(cell.active.load()) + 1.0) * per_weight;
}

/// Sessions, and the one to come, over weight.
struct ConnectionsScore {
  static constexpr Watch watch = Watch::load;
  static Duration moment(TimePoint, Duration) noexcept { return Duration::zero(); }
  static double of(const BackendCell& cell, double per_weight, Duration) noexcept { return load_of(cell, per_weight); }
};

/// Peak-EWMA's cost, after Finagle's com.twitter.finagle.loadbalancer.PeakEwma: latency x (active + 1). Nothing known
/// and nobody there: tried first. Nothing known but somebody is finding out: last, so that an unknown is not stampeded.
struct LatencyScore {
  static constexpr Watch watch = Watch::load_and_latency;

  /// Latencies are aged to this moment, and scores of one moment compare. It goes by tenths of a second, a hundredth of
  /// what forgetting takes, so that scores live long enough to be worth keeping. It never goes back behind `known`, the
  /// moment that was used before: workers' turns begin at different times, and would sort in turns around each step.
  static Duration moment(TimePoint now, Duration known) noexcept {
    const Duration since_start = now.time_since_epoch();
    return since_start - known < step ? known : since_start / step * step;
  }
  static double of(const BackendCell& cell, double per_weight, Duration moment) noexcept {
    const double load = load_of(cell, per_weight);
    const std::uint64_t latency_ns = cell.latency_ns.load();
    if (latency_ns == 0) return cell.active.load(std::memory_order_relaxed) == 0 ? 0.0 : unknown_and_busy_ns * load;
    const Duration age = moment - Duration(cell.latency_at_ns.load(std::memory_order_relaxed));
    const double left_ns = static_cast<double>(latency_ns) * peak_ewma_left(age);
    return std::max(left_ns, 1.0) * load;  // from 1 ns on, what is forgotten is shared by load alone
  }

 private:
  static constexpr Duration step = std::chrono::milliseconds(100);
  static constexpr double unknown_and_busy_ns = 1e18;  // thirty years: behind whatever was measured
};

}  // namespace usher
