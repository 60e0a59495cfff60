// Tenths: a percentile of each, and the one in the middle.
#include "bench/tenths.h"

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace usher::bench {

std::vector<std::optional<double>> p99_by_tenths(const load::RunReport& counted) {
  std::vector<std::optional<double>> found;
  for (std::size_t i = 0; i < counted.slices_whole; ++i) {
    const auto p99 = counted.slice_latency[i].settled_percentile(0.99);
    found.push_back(p99 ? std::optional(std::chrono::duration<double>(*p99).count()) : std::nullopt);
  }
  return found;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace usher::bench
