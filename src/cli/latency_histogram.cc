// LatencyHistogram: buckets that grow by a fixed ratio, and percentiles read off them.
#include "cli/latency_histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace usher::cli {
namespace {

constexpr double first_bound_ns = 50'000;
constexpr double growth = 1.05;

double bound_ns(std::size_t bucket) { return first_bound_ns * std::pow(growth, static_cast<double>(bucket)); }

}  // namespace

void LatencyHistogram::add(Duration took) noexcept {
  const auto ns = static_cast<double>(took.count());
  const double place = ns <= first_bound_ns ? 0 : std::ceil(std::log(ns / first_bound_ns) / std::log(growth));
  ++buckets_[static_cast<std::size_t>(std::min(place, static_cast<double>(bucket_count - 1)))];
}

std::uint64_t LatencyHistogram::count() const noexcept {
  return std::accumulate(buckets_.begin(), buckets_.end(), std::uint64_t{0});
}

Duration LatencyHistogram::percentile(double share) const noexcept {
  const std::uint64_t all = count();
  if (all == 0) return Duration::zero();
  // Nearest rank: of 100 durations, the 99th smallest is the 99th percentile.
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(all));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    seen += buckets_[i];
    if (seen >= rank) return Duration(static_cast<Duration::rep>(bound_ns(i)));
  }
  return Duration::zero();
}

LatencyHistogram LatencyHistogram::since(const LatencyHistogram& earlier) const noexcept {
  LatencyHistogram difference;
  for (std::size_t i = 0; i < bucket_count; ++i) difference.buckets_[i] = buckets_[i] - earlier.buckets_[i];
  return difference;
}

}  // namespace usher::cli
