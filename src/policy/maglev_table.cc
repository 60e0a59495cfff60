// MaglevTable: the paper's population, with turns by weight.
#include "policy/maglev_table.h"

#include <numeric>

#include "usher/base/hash.h"

namespace usher {
namespace {

bool is_prime(std::uint32_t number) noexcept {
  for (std::uint64_t divisor = 2; divisor * divisor <= number; ++divisor) {
    if (number % divisor == 0) return false;
  }
  return number >= 2;
}

// Only with a prime size does every skip reach every slot.
std::uint32_t prime_from(std::uint32_t number) noexcept {
  while (!is_prime(number)) ++number;
  return number;
}

struct Walk {
  std::uint32_t at;
  std::uint32_t skip;
};

std::vector<Walk> walks_of(std::span<const Seat> members, std::uint32_t size) {
  std::vector<Walk> walks;
  walks.reserve(members.size());
  for (const Seat& member : members) {
    const std::uint64_t second = mix64(member.name_hash + 0x9e3779b97f4a7c15ULL);
    walks.push_back(
        {static_cast<std::uint32_t>(member.name_hash % size), static_cast<std::uint32_t>(second % (size - 1)) + 1});
  }
  return walks;
}

// More turns than slots, in rounds of the heaviest member's turns: unlike rounds by the sum of weights, these stay
// where they are when a member goes, and so does the order in which the others choose.
std::vector<Position> turns_of(std::span<const Seat> members, std::uint32_t size) {
  std::vector<std::uint32_t> weights;
  weights.reserve(members.size());
  for (const Seat& member : members) weights.push_back(member.entry.weight);
  const std::uint64_t heaviest = *std::max_element(weights.begin(), weights.end());
  const std::uint64_t total = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
  const std::uint64_t rounds = (size + weights.size()) * heaviest / total + 1;
  return spaced_turns(weights, heaviest, static_cast<std::uint32_t>(rounds));
}

}  // namespace

MaglevTable::MaglevTable(std::span<const Seat> members, std::uint32_t size)
    : slots_(members.size() == 1 ? 1 : prime_from(size), 0) {
  if (members.size() == 1) return;
  size = static_cast<std::uint32_t>(slots_.size());
  std::vector<Walk> walks = walks_of(members, size);
  // Taken slots as bits: 8 KiB for 65,537 of them stay in the first-level cache, where most looks find a slot taken.
  std::vector<std::uint64_t> taken(size / 64 + 1, 0);
  std::uint32_t filled = 0;
  for (const Position position : turns_of(members, size)) {
    Walk& walk = walks[position];
    std::uint32_t at = walk.at;
    while ((taken[at / 64] >> (at % 64) & 1U) != 0) {
      at += walk.skip;
      if (at >= size) at -= size;
    }
    taken[at / 64] |= std::uint64_t{1} << (at % 64);
    slots_[at] = position;
    walk.at = at;  // taken now: the next turn goes on from here
    if (++filled == size) return;
  }
}

}  // namespace usher
