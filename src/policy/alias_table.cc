// AliasTable: building it.
#include "policy/alias_table.h"

#include <numeric>

namespace usher {

AliasTable::AliasTable(std::span<const std::uint32_t> weights) : columns_(weights.size()) {
  // Each column is `total` high, each weight brings `size * weight` to fill: integers, so that two ushers agree to the
  // bit.
  const std::uint64_t total = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
  std::vector<std::uint64_t> left(weights.size());
  std::vector<std::uint32_t> poor;
  std::vector<std::uint32_t> rich;
  for (std::uint32_t position = 0; position < weights.size(); ++position) {
    columns_[position] = {~std::uint32_t{0}, position};
    left[position] = std::uint64_t{weights[position]} * weights.size();
    (left[position] < total ? poor : rich).push_back(position);
  }
  while (!poor.empty() && !rich.empty()) {
    const std::uint32_t taker = poor.back();
    const std::uint32_t giver = rich.back();
    poor.pop_back();
    columns_[taker] = {static_cast<std::uint32_t>((left[taker] << 32) / total), giver};
    left[giver] -= total - left[taker];
    if (left[giver] >= total) continue;
    rich.pop_back();
    poor.push_back(giver);
  }
}

}  // namespace usher
