// Tier: the passes over all entries, for when draws hit nothing.
#include "policy/tier.h"

namespace usher {

Tier::Tier(std::span<const Seat> members) {
  entries_.reserve(members.size());
  for (const Seat& member : members) entries_.push_back(member.entry);
}

// Reservoir sampling with weights (Chao, 1982): one pass, nothing stored, each usable one wins by its share.
bool Tier::add_by_sweep(const Gate& gate, Rng& rng, Order& order) const noexcept {
  std::uint64_t total = 0;
  std::uint32_t chosen = 0;
  for (std::uint32_t position = 0; position < size(); ++position) {
    if (!wanted(gate, order, position)) continue;
    total += entries_[position].weight;
    if (rng.below(total) < entries_[position].weight) chosen = position;
  }
  if (total == 0) return false;
  order.add(chosen);
  return true;
}

void Tier::add_rest(const Gate& gate, std::uint32_t start, Order& order) const noexcept {
  std::uint32_t position = start;
  for (std::uint32_t seen = 0; seen < size() && !order.full(); ++seen) {
    if (wanted(gate, order, position)) order.add(position);
    position = position + 1 == size() ? 0 : position + 1;
  }
}

}  // namespace usher
