// Peak-EWMA's forgetting: how much of a latency is left after a while.
#pragma once

#include "usher/base/clock.h"

namespace usher {

inline constexpr Duration peak_ewma_decay_ns{std::chrono::seconds(10)};

/// exp(-age / 10 s) within 0.02, as (1 - x/16)^16: a scan over a thousand backends can't afford a thousand exp().
inline double peak_ewma_left(Duration age) noexcept {
  if (age <= Duration::zero()) return 1.0;
  // Multiplied, as all of a choice waits for this: a division takes longer.
  constexpr double per_ns = 1.0 / (16.0 * static_cast<double>(peak_ewma_decay_ns.count()));
  double left = 1.0 - static_cast<double>(age.count()) * per_ns;
  if (left <= 0.0) return 0.0;
  left *= left;
  left *= left;
  left *= left;
  return left * left;
}

}  // namespace usher
