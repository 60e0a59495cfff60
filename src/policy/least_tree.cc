// LeastTree: keeping the tournament, and drawing from it.
#include "policy/least_tree.h"

#include <algorithm>
#include <bit>

namespace usher {
namespace {

/// Four slots at a time, whatever the machine has for that (on x86-64: SSE2): compilers don't find this by themselves
/// at -O2.
using Lanes [[gnu::vector_size(16), gnu::may_alias]] = LeastTree::Key;
static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= sizeof(Lanes), "a vector's blocks begin where rows may");

inline Lanes lower(Lanes a, Lanes b) noexcept { return a < b ? a : b; }

struct Least {
  LeastTree::Key key;
  std::uint32_t ties;
};

inline Least least_of(const LeastTree::Key* slots) noexcept {
  const auto* const row = reinterpret_cast<const Lanes*>(slots);
  const Lanes low =
      lower(lower(lower(row[0], row[1]), lower(row[2], row[3])), lower(lower(row[4], row[5]), lower(row[6], row[7])));
  const Lanes two = lower(low, __builtin_shufflevector(low, low, 2, 3, 0, 1));
  const Lanes one = lower(two, __builtin_shufflevector(two, two, 1, 0, 3, 2));
  constexpr Lanes bits{1, 2, 4, 8};
  const Lanes ties = ((row[0] == one) & bits) | ((row[1] == one) & (bits << 4)) | ((row[2] == one) & (bits << 8)) |
                     ((row[3] == one) & (bits << 12)) | ((row[4] == one) & (bits << 16)) |
                     ((row[5] == one) & (bits << 20)) | ((row[6] == one) & (bits << 24)) |
                     ((row[7] == one) & (bits << 28));
  const Lanes half = ties | __builtin_shufflevector(ties, ties, 2, 3, 0, 1);
  return {one[0], static_cast<std::uint32_t>(half[0] | half[1])};
}

}  // namespace

LeastTree::LeastTree(std::uint32_t count) : count_(count) {
  std::uint32_t slots = 0;
  std::uint32_t blocks = 0;
  for (std::uint32_t in_round = std::max(count, 1U);; in_round = (in_round + width - 1) / width) {
    root_fan_ = in_round;
    const std::uint32_t in_blocks = (in_round + width - 1) / width;
    slots += in_blocks * width;
    lifts_.push_back(slots - blocks);
    blocks += in_blocks;
    if (in_blocks == 1) break;
  }
  slots_.assign(slots + 1, absent);
  blocks_.resize(blocks);
  rebuild();
}

LeastTree::Key LeastTree::look_at(std::uint32_t number, std::size_t round) noexcept {
  const auto [least, ties] = least_of(&slots_[std::size_t{number} * width]);
  std::uint32_t shared = 0;
  if (round == 0) {
    shared = static_cast<std::uint32_t>(std::popcount(ties));
  } else if (least != absent) {  // padding has no block of its own
    for (std::uint32_t left = ties; left != 0; left &= left - 1) {
      shared += blocks_[number * width + static_cast<std::uint32_t>(std::countr_zero(left)) - lifts_[round - 1]].shared;
    }
  }
  blocks_[number] = {ties, shared};
  return least;
}

void LeastTree::rebuild() noexcept {
  std::uint32_t number = 0;
  for (std::size_t round = 0; round < lifts_.size(); ++round) {
    // A round's last block is the one whose own slots the next round begins behind.
    const std::uint32_t end =
        round + 1 == lifts_.size() ? static_cast<std::uint32_t>(blocks_.size()) : (lifts_[round] + number) / width;
    for (; number < end; ++number) slots_[number + lifts_[round]] = look_at(number, round);
  }
}

void LeastTree::set(std::uint32_t position, Key key) noexcept {
  std::uint32_t slot = position;
  std::uint32_t had = 1;  // keys below this slot that shared its least, before and now
  std::uint32_t has = 1;
  for (std::size_t round = 0; round < lifts_.size(); ++round) {
    slots_[slot] = key;
    Block& block = blocks_[slot / width];
    const std::uint32_t bit = std::uint32_t{1} << (slot % width);
    const bool tied = (block.ties & bit) != 0;
    const std::uint32_t own = slot / width + lifts_[round];
    const std::uint32_t shared_before = block.shared;
    Key least = slots_[own];
    if (key < least) {
      least = key;
      block = {bit, has};
    } else if (key == least) {
      block.ties |= bit;
      block.shared += tied ? has - had : has;
    } else if (!tied) {
      return;
    } else if (block.ties != bit) {
      block.ties &= ~bit;
      block.shared -= had;
    } else {
      least = look_at(slot / width, round);
    }
    if (least == slots_[own] && block.shared == shared_before) return;
    had = shared_before;
    has = block.shared;
    slot = own;
    key = least;
  }
  slots_[slot] = key;
}

std::uint32_t LeastTree::draw(Rng& rng) const noexcept {
  const std::size_t last = lifts_.size() - 1;
  const auto root = static_cast<std::uint32_t>(blocks_.size() - 1);
  if (blocks_[root].shared == 1) return only_one();
  // Where many share the least, a blind choice of a lane in each round hits one of them soon, and each alike.
  for (unsigned attempt = 0; attempt < 4; ++attempt) {
    std::uint64_t bits = rng();
    auto lane = static_cast<std::uint32_t>(((bits >> 32) * root_fan_) >> 32);
    std::uint32_t block = root;
    for (std::size_t round = last; (blocks_[block].ties >> lane & 1U) != 0; --round) {
      const std::uint32_t slot = block * width + lane;
      if (round == 0) return slot;
      block = slot - lifts_[round - 1];
      lane = static_cast<std::uint32_t>(bits) % width;
      bits >>= 5;
    }
  }
  return draw_by_count(rng());
}

std::uint32_t LeastTree::only_one() const noexcept {
  auto slot = static_cast<std::uint32_t>(slots_.size() - 1);
  for (std::size_t round = lifts_.size(); round-- > 0;) {
    const std::uint32_t block = slot - lifts_[round];
    slot = block * width + static_cast<std::uint32_t>(std::countr_zero(blocks_[block].ties));
  }
  return slot;
}

/// Where few do, their counts lead to the one whose number was drawn.
std::uint32_t LeastTree::draw_by_count(std::uint64_t bits) const noexcept {
  auto block = static_cast<std::uint32_t>(blocks_.size() - 1);
  auto number = static_cast<std::uint32_t>(((bits >> 32) * blocks_[block].shared) >> 32);
  for (std::size_t round = lifts_.size() - 1;; --round) {
    std::uint32_t left = blocks_[block].ties;
    std::uint32_t slot = 0;
    while (true) {
      slot = block * width + static_cast<std::uint32_t>(std::countr_zero(left));
      const std::uint32_t below = round == 0 ? 1 : blocks_[slot - lifts_[round - 1]].shared;
      if (number < below) break;
      number -= below;
      left &= left - 1;
    }
    if (round == 0) return slot;
    block = slot - lifts_[round - 1];
  }
}

}  // namespace usher
