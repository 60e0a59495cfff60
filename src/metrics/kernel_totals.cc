// KernelTotals: what a log2 histogram says about the time that connects took.
#include "usher/metrics/kernel_totals.h"

#include <cmath>
#include <numeric>

namespace usher {

std::optional<Duration> KernelTotals::connect_quantile(double share) const noexcept {
  const std::uint64_t all = std::accumulate(connect.begin(), connect.end(), std::uint64_t{0});
  if (all == 0) return std::nullopt;
  const double rank = std::ceil(share * static_cast<double>(all));
  std::uint64_t below = 0;
  for (std::size_t bucket = 0; bucket + 1 < bucket_count; ++bucket) {
    below += connect[bucket];
    if (below != 0 && static_cast<double>(below) >= rank) return upper_end(bucket);
  }
  return upper_end(bucket_count - 1);
}

double KernelTotals::connect_seconds_about() const noexcept {
  double sum = 0;
  for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
    sum += static_cast<double>(connect[bucket]) * 0.75 * std::chrono::duration<double>(upper_end(bucket)).count();
  }
  return sum;
}

}  // namespace usher
