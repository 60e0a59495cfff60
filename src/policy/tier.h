// Tier: the backends of one tier under one algorithm; what stands behind the wall of Picker.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/rng.h"
#include "usher/policy/backend.h"
#include "usher/policy/board.h"
#include "usher/policy/options.h"

namespace usher {

/// A backend of weight above 0, as algorithms see it. `index` is its place in the list that the picker was made of.
struct Entry {
  BackendId id;
  std::uint32_t weight = 0;
  std::uint32_t index = 0;
};

/// What a tier is built from.
struct Seat {
  Entry entry;
  std::uint64_t name_hash = 0;
};

/// Says who may be used at this moment. In panic, health is ignored.
class Gate {
 public:
  enum class Health { required, ignored };
  Gate(const Board& board, Health health, TimePoint now) noexcept : board_(board), health_(health), now_(now) {}

  [[nodiscard]] const Board& board() const noexcept { return board_; }
  [[nodiscard]] Health health() const noexcept { return health_; }
  [[nodiscard]] TimePoint now() const noexcept { return now_; }
  [[nodiscard]] const BackendCell& cell(const Entry& entry) const noexcept { return board_[entry.id]; }
  [[nodiscard]] bool admits(const Entry& entry) const noexcept {
    const BackendCell& it = board_[entry.id];
    if (!it.enabled.load(std::memory_order_relaxed)) return false;
    if (health_ == Health::required && !it.healthy.load(std::memory_order_relaxed)) return false;
    return board_.has_room(entry.id);
  }

 private:
  const Board& board_;
  Health health_;
  TimePoint now_;
};

/// The candidates found so far, as positions in the tier; each at most once.
class Order {
 public:
  explicit Order(std::span<std::uint32_t> room) noexcept : room_(room) {}
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t size() const noexcept { return room_.size(); }
  [[nodiscard]] bool full() const noexcept { return count_ == room_.size(); }
  [[nodiscard]] std::span<std::uint32_t> positions() const noexcept { return room_.first(count_); }
  [[nodiscard]] bool holds(std::uint32_t position) const noexcept {
    const auto mine = positions();
    return std::find(mine.begin(), mine.end(), position) != mine.end();
  }
  /// REQUIRES: not full, doesn't hold it.
  void add(std::uint32_t position) noexcept { room_[count_++] = position; }
  void clear() noexcept { count_ = 0; }

 private:
  std::span<std::uint32_t> room_;
  std::size_t count_ = 0;
};

/// So many candidates come in the algorithm's own order; nobody dials further than that, so the rest merely follows.
inline constexpr std::size_t ordered_count_max = 8;
/// So many draws may hit what is not usable, or is taken already, before a pass over all entries decides.
inline constexpr unsigned draw_tries_max = 16;

/// Immutable but for atomics; shared by all workers.
class Tier {
 public:
  explicit Tier(std::span<const Seat> members);
  virtual ~Tier() = default;
  Tier(const Tier&) = delete;
  Tier& operator=(const Tier&) = delete;

  /// Fills an empty `order`, which has room for at least one, with those that the gate admits.
  virtual void pick(const Gate& gate, std::uint64_t key, Rng& rng, Order& order) const noexcept = 0;
  [[nodiscard]] std::span<const Entry> entries() const noexcept { return entries_; }

 protected:
  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(entries_.size()); }
  [[nodiscard]] bool wanted(const Gate& gate, const Order& order, std::uint32_t position) const noexcept {
    return !order.holds(position) && gate.admits(entries_[position]);
  }
  /// Adds one that is drawn by weight from all that are usable. False when there is none left.
  bool add_by_sweep(const Gate& gate, Rng& rng, Order& order) const noexcept;
  /// Adds all that are usable, in the tier's order from `start` on.
  void add_rest(const Gate& gate, std::uint32_t start, Order& order) const noexcept;

  /// Adds from `draw()` until the order is full or nobody is left; `sweep()` adds one where draws hit nothing.
  template <typename Draw, typename Sweep>
  void add_by_draws(const Gate& gate, Order& order, Draw draw, Sweep sweep) const noexcept {
    while (!order.full() && order.count() < size()) {
      if (order.count() >= ordered_count_max) return add_rest(gate, draw(), order);
      bool found = false;
      for (unsigned attempt = 0; attempt < draw_tries_max && !found; ++attempt) {
        const std::uint32_t position = draw();
        found = wanted(gate, order, position);
        if (found) order.add(position);
      }
      if (!found && !sweep()) return;
    }
  }

 private:
  std::vector<Entry> entries_;
};

std::unique_ptr<const Tier> make_round_robin(std::span<const Seat> members);
std::unique_ptr<const Tier> make_random(std::span<const Seat> members);
std::unique_ptr<const Tier> make_two_choices(std::span<const Seat> members);
std::unique_ptr<const Tier> make_least_connections(std::span<const Seat> members, const Board& board);
std::unique_ptr<const Tier> make_least_latency(std::span<const Seat> members, const Board& board);
std::unique_ptr<const Tier> make_source_hash(std::span<const Seat> members);
std::unique_ptr<const Tier> make_maglev(std::span<const Seat> members, std::uint32_t table_size);

}  // namespace usher
