// MaglevTable: which member each of some ten thousand slots belongs to, so that a member's going moves few others'
// slots.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "policy/tier.h"
#include "policy/turns.h"

namespace usher {

/// Immutable. D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
/// section 3.4.
class MaglevTable {
 public:
  /// A member's permutation of the slots comes from its name's hash, its number of turns from its weight; who comes
  /// first in a round is the members' order, so give them sorted. A size that isn't prime is taken up to the next
  /// prime. REQUIRES: at least one member.
  MaglevTable(std::span<const Seat> members, std::uint32_t size);

  /// The position that 64 hashed bits stand for.
  [[nodiscard]] std::uint32_t at(std::uint64_t bits) const noexcept {
    return slots_[((bits >> 32) * slots_.size()) >> 32];
  }
  [[nodiscard]] std::span<const Position> slots() const noexcept { return slots_; }

 private:
  std::vector<Position> slots_;
};

}  // namespace usher
