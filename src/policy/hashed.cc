// source_hash and maglev: the key decides, the same way in every worker and every usher.
#include <cmath>

#include "policy/alias_table.h"
#include "policy/maglev_table.h"
#include "policy/tier.h"
#include "usher/base/hash.h"

namespace usher {
namespace {

/// A table look-up; where it names somebody who can't serve, the key is hashed again and again, so that a dead
/// backend's keys spread over all and nobody else's move. Table::at(bits) answers a position.
template <typename Table>
class Hashed final : public Tier {
 public:
  Hashed(std::span<const Seat> members, Table table) : Tier(members), table_(std::move(table)) {
    for (const Seat& member : members) name_hashes_.push_back(member.name_hash);
  }

  void pick(const Gate& gate, std::uint64_t key, Rng&, Order& order) const noexcept override {
    const auto draw = [this, link = key]() mutable { return table_.at(mix64(link += 0x9e3779b97f4a7c15ULL)); };
    add_by_draws(gate, order, draw, [&] { return add_by_rendezvous(gate, key, order); });
  }

 private:
  // Weighted rendezvous (Mosharaf, Schindelhauer and others): no table, one pass, and as stable as the chain, which it
  // ends when nearly everybody is out.
  bool add_by_rendezvous(const Gate& gate, std::uint64_t key, Order& order) const noexcept {
    double best = -1.0;
    std::uint32_t chosen = 0;
    for (std::uint32_t position = 0; position < size(); ++position) {
      if (!wanted(gate, order, position)) continue;
      const std::uint64_t bits = mix64(mix64(key) ^ name_hashes_[position]);
      const double unit = (static_cast<double>(bits >> 11) + 0.5) * 0x1.0p-53;  // above 0, below 1
      const double score = static_cast<double>(entries()[position].weight) / -std::log(unit);
      if (score <= best) continue;
      best = score;
      chosen = position;
    }
    if (best < 0.0) return false;
    order.add(chosen);
    return true;
  }

  Table table_;
  std::vector<std::uint64_t> name_hashes_;
};

}  // namespace

std::unique_ptr<const Tier> make_source_hash(std::span<const Seat> members) {
  std::vector<std::uint32_t> weights;
  for (const Seat& member : members) weights.push_back(member.entry.weight);
  return std::make_unique<const Hashed<AliasTable>>(members, AliasTable(weights));
}

std::unique_ptr<const Tier> make_maglev(std::span<const Seat> members, std::uint32_t table_size) {
  return std::make_unique<const Hashed<MaglevTable>>(members, MaglevTable(members, table_size));
}

}  // namespace usher
