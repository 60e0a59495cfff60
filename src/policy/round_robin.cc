// round_robin: everybody in turn, by weight, smoothly; one position for all workers.
#include <atomic>

#include "policy/tier.h"
#include "policy/turns.h"

namespace usher {
namespace {

std::vector<std::uint32_t> weights_of(std::span<const Seat> members) {
  std::vector<std::uint32_t> weights;
  for (const Seat& member : members) weights.push_back(member.entry.weight);
  return weights;
}

class RoundRobin final : public Tier {
 public:
  explicit RoundRobin(std::span<const Seat> members)
      : Tier(members), sequence_(smooth_sequence(weights_of(members))) {}

  void pick(const Gate& gate, std::uint64_t, Rng& rng, Order& order) const noexcept override {
    const auto sweep = [&] { return add_by_sweep(gate, rng, order); };
    if (!add_from(position_, 1, gate, order) && !add_from(spare_, spare_steps_max, gate, order) && !sweep()) return;
    // What follows is for a failed dial, and doesn't move the positions: going round at a fixed distance from the first
    // would hand a dead backend's retries to always the same neighbour.
    const auto draw = [&] { return sequence_[rng.below(sequence_.size())]; };
    add_by_draws(gate, order, draw, sweep);
  }

 private:
  /// Where the first position meets somebody who can't serve, the second goes round among those who can, so the share
  /// is spread by weight. Past this many steps most of the tier is out, and a sweep is cheaper.
  static constexpr unsigned spare_steps_max = 64;

  bool add_from(std::atomic<std::uint64_t>& place, unsigned steps, const Gate& gate, Order& order) const noexcept {
    for (unsigned step = 0; step < steps; ++step) {
      const std::uint32_t candidate = sequence_[place.fetch_add(1, std::memory_order_relaxed) % sequence_.size()];
      if (!gate.admits(entries()[candidate])) continue;
      order.add(candidate);
      return true;
    }
    return false;
  }

  const std::vector<Position> sequence_;
  alignas(64) mutable std::atomic<std::uint64_t> position_{0};
  alignas(64) mutable std::atomic<std::uint64_t> spare_{0};
};

}  // namespace

std::unique_ptr<const Tier> make_round_robin(std::span<const Seat> members) {
  return std::make_unique<const RoundRobin>(members);
}

}  // namespace usher
