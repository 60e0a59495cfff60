// least_connections and least_latency: of all backends, the one with the lowest score.
#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <optional>

#include "policy/least_scores.h"
#include "policy/least_tree.h"
#include "policy/tier.h"
#include "policy/turns.h"
#include "usher/base/hash.h"

namespace usher {
namespace {

/// Keys as they were last seen, sorted, and never above the truth: a score that rises is found out when its backend is
/// about to be chosen (all the others can only have risen, too), one that falls is told by the board's log. So a choice
/// is as good as a look at everybody, at the price of a look at one or two.
///
/// One worker at a time sorts; who comes meanwhile looks at everybody, and waits for nobody. Equals are drawn, so that
/// workers that look at the same moment don't all run to the same backend.
template <typename Score>
class Least final : public Tier {
 public:
  Least(std::span<const Seat> members, const Board& board) : Tier(members), tree_(size()) {
    std::uint32_t id_end = 0;
    for (const Entry& entry : entries()) id_end = std::max(id_end, entry.id.value + 1);
    positions_.assign(id_end, nobody);
    for (std::uint32_t position = 0; position < size(); ++position) {
      const Entry& entry = entries()[position];
      positions_[entry.id.value] = static_cast<Position>(position);
      per_weight_.push_back(1.0 / entry.weight);
      board.watch(entry.id, Score::watch);
    }
  }

  void pick(const Gate& gate, std::uint64_t, Rng& rng, Order& order) const noexcept override {
    bool sorted = false;
    const bool worth_sorting = order.size() == 1 || size() > scanned_max;
    if (worth_sorting && !claimed_.exchange(true, std::memory_order_acquire)) {
      sorted = pick_sorted(gate, rng, order);
      claimed_.store(false, std::memory_order_release);
    }
    if (!sorted) scan(gate, rng, order);
    if (order.count() == ordered_count_max) add_rest(gate, static_cast<std::uint32_t>(rng.below(size())), order);
  }

 private:
  using Key = LeastTree::Key;

  /// What keys depend on beside their backends. Keys of another basis don't compare.
  struct Basis {
    std::uint64_t epoch = 0;  // 0 = none yet; the board's first is 1
    Gate::Health health = Gate::Health::required;
    Duration moment = Duration::zero();
    friend bool operator==(const Basis&, const Basis&) = default;
  };

  [[nodiscard]] Key key_of(const Gate& gate, std::uint32_t position, Duration moment) const noexcept {
    const Entry& entry = entries()[position];
    if (!gate.admits(entry)) return LeastTree::absent;
    return key_of_score(Score::of(gate.cell(entry), per_weight_[position], moment));
  }

  /// False, with an empty order, when so much had risen unheard that a scan is cheaper; the next pick starts anew.
  bool pick_sorted(const Gate& gate, Rng& rng, Order& order) const noexcept {
    hear(gate);
    const std::size_t places = std::min(order.size(), ordered_count_max);
    const std::uint32_t risen_max = risen_min + size() / 8;
    std::array<Key, ordered_count_max> aside;
    std::uint32_t risen = 0;
    while (tree_.least() != LeastTree::absent && risen <= risen_max) {
      const std::uint32_t position = tree_.draw(rng);
      const Key key = key_of(gate, position, basis_.moment);
      if (key > tree_.least()) {
        tree_.set(position, key);
        ++risen;
        continue;
      }
      aside[order.count()] = key;
      order.add(position);
      if (order.count() == places) break;
      tree_.set(position, LeastTree::absent);  // while the next is looked for
    }
    // The last one of a full order never was aside.
    const auto taken = order.positions();
    for (std::size_t at = taken.size() - (taken.size() == places ? 1 : 0); at-- > 0;) tree_.set(taken[at], aside[at]);
    if (risen <= risen_max) return true;
    basis_ = Basis{};
    order.clear();
    return false;
  }

  /// Brings keys down to what has fallen since the last pick, or all of them up to date when their basis has changed.
  void hear(const Gate& gate) const noexcept {
    const FallLog& falls = gate.board().falls();
    const std::uint64_t end = falls.end();
    const Basis basis{gate.board().epoch(), gate.health(), Score::moment(gate.now(), basis_.moment)};
    bool anew = basis != basis_ || end - heard_ > size();
    for (; !anew && heard_ != end; ++heard_) {
      const std::optional<BackendId> fallen = falls.at(heard_);
      anew = !fallen;
      if (!fallen || fallen->value >= positions_.size()) continue;
      const Position position = positions_[fallen->value];
      if (position != nobody) tree_.set(position, key_of(gate, position, basis.moment));
    }
    if (!anew) return;
    heard_ = end;
    basis_ = basis;
    for (std::uint32_t position = 0; Key & key : tree_.keys()) key = key_of(gate, position++, basis.moment);
    tree_.rebuild();
  }

  void scan(const Gate& gate, Rng& rng, Order& order) const noexcept {
    struct Place {
      Key key;
      std::uint32_t lot;
      std::uint32_t position;
      [[nodiscard]] bool before(const Place& other) const noexcept {
        return key < other.key || (key == other.key && lot < other.lot);
      }
    };
    const std::size_t places = std::min(order.size(), ordered_count_max);
    const std::uint64_t salt = rng();
    const Duration moment = Score::moment(gate.now(), Duration::zero());
    std::array<Place, ordered_count_max> best;
    std::size_t held = 0;
    for (std::uint32_t position = 0; position < size(); ++position) {
      const Key key = key_of(gate, position, moment);
      if (key == LeastTree::absent || (held == places && key > best[held - 1].key)) continue;
      const Place mine{key, static_cast<std::uint32_t>(mix64(salt + position)), position};
      if (held == places && !mine.before(best[held - 1])) continue;
      std::size_t at = held < places ? held++ : held - 1;
      for (; at > 0 && mine.before(best[at - 1]); --at) best[at] = best[at - 1];
      best[at] = mine;
    }
    for (std::size_t at = 0; at < held; ++at) order.add(best[at].position);
  }

  static constexpr Position nobody = std::numeric_limits<Position>::max();
  static_assert(backend_count_max <= nobody, "no position is nobody");
  static constexpr std::uint32_t risen_min = 64;    // and one in eight: about what a scan costs
  static constexpr std::uint32_t scanned_max = 16;  // so few are looked at sooner than three are taken out and put back

  std::vector<double> per_weight_;   // 1 / weight
  std::vector<Position> positions_;  // by id

  alignas(64) mutable std::atomic<bool> claimed_{false};
  // What follows belongs to whoever has claimed it.
  mutable std::uint64_t heard_ = 0;  // entries of the fall log
  mutable Basis basis_;
  mutable LeastTree tree_;
};

}  // namespace

std::unique_ptr<const Tier> make_least_connections(std::span<const Seat> members, const Board& board) {
  return std::make_unique<const Least<ConnectionsScore>>(members, board);
}
std::unique_ptr<const Tier> make_least_latency(std::span<const Seat> members, const Board& board) {
  return std::make_unique<const Least<LatencyScore>>(members, board);
}

}  // namespace usher
