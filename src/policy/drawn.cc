// random and two_choices: draws by weight; the latter keeps the emptier of two.
#include <array>

#include "policy/alias_table.h"
#include "policy/tier.h"

namespace usher {
namespace {

AliasTable table_of(std::span<const Seat> members) {
  std::vector<std::uint32_t> weights;
  for (const Seat& member : members) weights.push_back(member.entry.weight);
  return AliasTable(weights);
}

class Drawn : public Tier {
 public:
  explicit Drawn(std::span<const Seat> members) : Tier(members), table_(table_of(members)) {}

  void pick(const Gate& gate, std::uint64_t, Rng& rng, Order& order) const noexcept override {
    draw_into(gate, rng, order);
  }

 protected:
  [[nodiscard]] std::uint32_t draw(Rng& rng) const noexcept { return table_.at(rng()); }
  void draw_into(const Gate& gate, Rng& rng, Order& order) const noexcept {
    add_by_draws(
        gate, order, [&] { return draw(rng); }, [&] { return add_by_sweep(gate, rng, order); });
  }

 private:
  AliasTable table_;
};

/// M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996. Two different ones, so that of two
/// backends the fuller one is never taken.
class TwoChoices final : public Drawn {
 public:
  using Drawn::Drawn;

  void pick(const Gate& gate, std::uint64_t, Rng& rng, Order& order) const noexcept override {
    std::array<std::uint32_t, 2> pair{draw(rng), draw(rng)};
    // Nearly always these are two, and both can serve; then neither look waits for the other.
    const bool first = gate.admits(entries()[pair[0]]);
    const bool second = pair[0] != pair[1] && gate.admits(entries()[pair[1]]);
    Order found(pair);
    if (first) found.add(pair[0]);
    if (first && second) {
      found.add(pair[1]);
    } else {
      draw_into(gate, rng, found);
    }
    if (found.count() == 0) return;
    // Without a branch, as no predictor can know which of two is emptier.
    const std::size_t chosen = found.count() == 2 && emptier(gate, entries()[pair[1]], entries()[pair[0]]) ? 1 : 0;
    order.add(pair[chosen]);
    if (found.count() == 1 || order.full()) return;
    order.add(pair[1 - chosen]);
    draw_into(gate, rng, order);
  }

 private:
  static bool emptier(const Gate& gate, const Entry& a, const Entry& b) noexcept {
    const std::uint64_t a_active = gate.cell(a).active.load(std::memory_order_relaxed);
    const std::uint64_t b_active = gate.cell(b).active.load(std::memory_order_relaxed);
    return a_active * b.weight < b_active * a.weight;
  }
};

}  // namespace

std::unique_ptr<const Tier> make_random(std::span<const Seat> members) {
  return std::make_unique<const Drawn>(members);
}
std::unique_ptr<const Tier> make_two_choices(std::span<const Seat> members) {
  return std::make_unique<const TwoChoices>(members);
}

}  // namespace usher
