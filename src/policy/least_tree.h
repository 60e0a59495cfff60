// LeastTree: the least of many keys, kept while they change, and a fair draw among those that share it.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "usher/base/rng.h"

namespace usher {

/// A tournament in rounds of 32: a block keeps the least of its 32 slots, a mask of the slots that have it, and how
/// many keys share it below; a round's blocks are the next round's slots. A change costs a few instructions a round, a
/// look at all 32 only where the last one at the least leaves it. One thread at a time.
class LeastTree {
 public:
  using Key = std::int32_t;                                       // signed, as SSE2 compares nothing else
  static constexpr Key absent = std::numeric_limits<Key>::max();  ///< of who can't be drawn

  /// All are absent.
  explicit LeastTree(std::uint32_t count);

  /// absent when all are.
  [[nodiscard]] Key least() const noexcept { return slots_.back(); }
  void set(std::uint32_t position, Key key) noexcept;
  /// To change many: write here, then rebuild, before anything else is asked.
  [[nodiscard]] std::span<Key> keys() noexcept { return std::span(slots_).first(count_); }
  void rebuild() noexcept;

  /// One of the positions whose key is least(), each with the same chance. REQUIRES: not all are absent.
  [[nodiscard]] std::uint32_t draw(Rng& rng) const noexcept;

 private:
  static constexpr std::uint32_t width = 32;
  struct Block {
    std::uint32_t ties = 0;    // slots at the block's least
    std::uint32_t shared = 0;  // keys at it, below those slots
  };

  /// The least of a block's slots; brings its ties and shared up to date.
  Key look_at(std::uint32_t number, std::size_t round) noexcept;
  [[nodiscard]] std::uint32_t only_one() const noexcept;
  [[nodiscard]] std::uint32_t draw_by_count(std::uint64_t bits) const noexcept;

  std::uint32_t count_;
  std::uint32_t root_fan_ = 0;  // slots of the last block that are in use
  std::vector<Key> slots_;      // the keys, then each round's, padded with absent to whole blocks; last the winner
  std::vector<Block> blocks_;   // block n has the slots from n * width on
  std::vector<std::uint32_t> lifts_;  // by round: block n's own slot is n + lift
};

}  // namespace usher
