// AliasTable: a weighted draw in one look-up, whatever the weights (Walker's alias method, as Vose builds it).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace usher {

/// Immutable. M. D. Vose, "A linear algorithm for generating random numbers with a given distribution", 1991.
class AliasTable {
 public:
  /// REQUIRES: at least one weight, each above 0.
  explicit AliasTable(std::span<const std::uint32_t> weights);

  /// The position that 64 random (or hashed) bits stand for.
  [[nodiscard]] std::uint32_t at(std::uint64_t bits) const noexcept {
    const auto position = static_cast<std::uint32_t>(((bits >> 32) * columns_.size()) >> 32);
    const Column& column = columns_[position];
    // Without a branch, as no predictor can know a coin: 0 keeps the position, all ones take the alias.
    const std::uint32_t other = static_cast<std::uint32_t>(bits) < column.own ? 0U : ~0U;
    return position ^ ((position ^ column.alias) & other);
  }

 private:
  struct Column {
    std::uint32_t own = 0;  // of 2^32, the part that stands for the column itself
    std::uint32_t alias = 0;
  };
  std::vector<Column> columns_;
};

}  // namespace usher
