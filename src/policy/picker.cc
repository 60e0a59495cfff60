// Picker: which tier serves and whether it is in panic, once for all algorithms; and the making of pickers.
#include "usher/policy/picker.h"

#include <optional>
#include <tuple>

#include "policy/tier.h"
#include "usher/base/hash.h"

namespace usher {
namespace {

/// The tiers stand in the order in which they may serve: first, ascending, those with a healthy backend, then (by panic
/// alone) those without. A round walks both lines as one, so the number of tiers plus a tier's number means "by panic
/// alone".
class TieredPicker final : public Picker {
 public:
  TieredPicker(const Board& board, double panic_threshold, std::vector<std::unique_ptr<const Tier>> tiers)
      : board_(board), panic_threshold_(panic_threshold), tiers_(std::move(tiers)) {}

  std::size_t pick(std::uint64_t key, TimePoint now, Rng& rng, std::span<std::uint32_t> order) const noexcept override {
    if (order.empty()) return 0;
    std::optional<Turn> turn = first_turn();
    while (turn) {
      const Tier& tier = tier_at(turn->place);
      Order found(order);
      tier.pick(Gate(board_, turn->health, now), key, rng, found);
      for (std::uint32_t& position : found.positions()) position = tier.entries()[position].index;
      if (found.count() > 0) return found.count();
      turn = next_turn(turn->place + 1);  // its backends are all full, which the epoch doesn't tell
    }
    return 0;
  }

 private:
  struct Turn {
    std::size_t place = 0;
    Gate::Health health = Gate::Health::required;
  };

  /// A division would cost as much as a draw.
  [[nodiscard]] const Tier& tier_at(std::size_t place) const noexcept {
    return *tiers_[place < tiers_.size() ? place : place - tiers_.size()];
  }

  [[nodiscard]] std::optional<Turn> next_turn(std::size_t place) const noexcept {
    for (; place < 2 * tiers_.size(); ++place) {
      const bool by_panic_alone = place >= tiers_.size();
      std::uint32_t enabled = 0;
      std::uint32_t healthy = 0;
      for (const Entry& entry : tier_at(place).entries()) {
        if (!board_[entry.id].enabled.load(std::memory_order_relaxed)) continue;
        ++enabled;
        if (board_[entry.id].healthy.load(std::memory_order_relaxed)) ++healthy;
      }
      if (enabled == 0 || (healthy == 0) != by_panic_alone) continue;
      const bool panic = static_cast<double>(healthy) / static_cast<double>(enabled) < panic_threshold_;
      if (by_panic_alone && !panic) continue;
      return Turn{place, panic ? Gate::Health::ignored : Gate::Health::required};
    }
    return std::nullopt;
  }

  /// next_turn(0), kept for as long as the board's epoch stands. One word, so workers that race write the same or a
  /// newer answer; the gate looks at the live bits again, so a stale one admits nobody who mustn't serve.
  [[nodiscard]] std::optional<Turn> first_turn() const noexcept {
    const std::uint64_t epoch = board_.epoch() << cached_turn_bits;
    std::uint64_t cached = cached_turn_.load(std::memory_order_relaxed);
    if (((cached ^ epoch) >> cached_turn_bits) != 0) {
      const std::optional<Turn> turn = next_turn(0);
      cached = epoch | (turn ? turn->place << 1 : cached_nobody);
      if (turn && turn->health == Gate::Health::ignored) cached |= 1U;
      cached_turn_.store(cached, std::memory_order_relaxed);
    }
    const std::uint64_t low = cached & ((std::uint64_t{1} << cached_turn_bits) - 1);
    if (low == cached_nobody) return std::nullopt;
    return Turn{low >> 1, (low & 1U) != 0 ? Gate::Health::ignored : Gate::Health::required};
  }

  static constexpr unsigned cached_turn_bits = 17;
  static constexpr std::uint64_t cached_nobody = (std::uint64_t{1} << cached_turn_bits) - 2;
  static_assert(2 * 2 * backend_count_max < cached_nobody, "a place and the panic bit must fit below the epoch");

  const Board& board_;
  const double panic_threshold_;
  const std::vector<std::unique_ptr<const Tier>> tiers_;
  mutable std::atomic<std::uint64_t> cached_turn_{0};  // the board's first epoch is 1
};

std::unique_ptr<const Tier> make_tier(const PickerOptions& options, std::span<const Seat> members, const Board& board) {
  switch (options.algorithm) {
    case Algorithm::round_robin:
      return make_round_robin(members);
    case Algorithm::random:
      return make_random(members);
    case Algorithm::two_choices:
      return make_two_choices(members);
    case Algorithm::least_connections:
      return make_least_connections(members, board);
    case Algorithm::least_latency:
      return make_least_latency(members, board);
    case Algorithm::source_hash:
      return make_source_hash(members);
    case Algorithm::maglev:
      return make_maglev(members, options.maglev_table_size);
  }
  return nullptr;
}

bool order_of_list_matters(Algorithm algorithm) noexcept {
  return algorithm != Algorithm::source_hash && algorithm != Algorithm::maglev;
}

}  // namespace

std::unique_ptr<const Picker> make_picker(const PickerOptions& options, std::span<const Backend> backends,
                                          const Board& board) {
  struct Ranked {
    std::uint32_t tier;
    Seat member;
  };
  std::vector<Ranked> seats;
  for (std::uint32_t index = 0; index < backends.size(); ++index) {
    const Backend& backend = backends[index];
    if (backend.weight == 0) continue;
    seats.push_back({backend.tier, {Entry{backend.id, backend.weight, index}, hash_text(backend.name)}});
  }
  const bool listed = order_of_list_matters(options.algorithm);
  std::sort(seats.begin(), seats.end(), [listed](const Ranked& a, const Ranked& b) {
    const auto rank = [listed](const Ranked& seat) {
      return std::tuple(seat.tier, listed ? 0 : seat.member.name_hash, seat.member.entry.index);
    };
    return rank(a) < rank(b);
  });

  std::vector<std::unique_ptr<const Tier>> tiers;
  std::vector<Seat> members;
  for (std::size_t at = 0; at < seats.size(); ++at) {
    members.push_back(seats[at].member);
    if (at + 1 < seats.size() && seats[at + 1].tier == seats[at].tier) continue;
    tiers.push_back(make_tier(options, members, board));
    members.clear();
  }
  return std::make_unique<const TieredPicker>(board, options.panic_threshold, std::move(tiers));
}

}  // namespace usher
