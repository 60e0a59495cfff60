// LatencyHistogram: how long requests took, in a bounded space, for percentiles good to 5 %.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "usher/base/clock.h"

namespace usher::cli {

/// A value. Buckets grow by 5 % from 50 us; the last takes all from about 11 s on.
class LatencyHistogram {
 public:
  static constexpr std::size_t bucket_count = 254;

  void add(Duration took) noexcept;
  [[nodiscard]] std::uint64_t count() const noexcept;
  /// The bound that a `share` (0 to 1) of the durations is not above; 0 of none.
  [[nodiscard]] Duration percentile(double share) const noexcept;
  /// What was added since `earlier`, an older copy of this one.
  [[nodiscard]] LatencyHistogram since(const LatencyHistogram& earlier) const noexcept;

 private:
  std::array<std::uint64_t, bucket_count> buckets_{};
};

}  // namespace usher::cli
