// TimerWheel: one deadline a slot, set and cleared in constant time. After Varghese and Lauck, "Hashed and Hierarchical
// Timing Wheels", SOSP 1987.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "usher/base/clock.h"
#include "usher/base/mapped_array.h"

namespace usher {

/// Not thread safe; no allocation after construction. A deadline is never early, and at most two ticks (17 ms) late plus
/// however late advance() is called.
class TimerWheel {
 public:
  static constexpr Duration tick = Duration(std::int64_t{1} << 23);  ///< 8.4 ms

  TimerWheel(std::uint32_t slot_count, TimePoint now);

  /// Sets or moves the deadline of `slot`.
  void set(std::uint32_t slot, TimePoint due) noexcept;
  void clear(std::uint32_t slot) noexcept;
  [[nodiscard]] bool pending(std::uint32_t slot) const noexcept { return nodes_[slot].bucket != 0; }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }

  /// Calls `on_due(slot)` for each deadline that has passed; the slot is cleared before the call, and on_due may set or clear any slot.
  template <typename OnDue>
  void advance(TimePoint now, OnDue&& on_due) {
    const std::uint64_t target = tick_of(now);
    while (now_tick_ < target && size_ != 0) {
      step_to(next_stop(target));
      while (const std::uint32_t head = heads_[due_bucket]) {
        clear(head - 1);
        on_due(head - 1);
      }
    }
    if (now_tick_ < target) now_tick_ = target;
  }

  /// No deadline is due before this; nothing = no deadline at all. May be earlier than the first deadline (a cascade).
  [[nodiscard]] std::optional<TimePoint> next_due() const noexcept;

 private:
  static constexpr unsigned level_bits = 6;
  static constexpr unsigned level_count = 6;  ///< 64^6 ticks: 18 years of uptime
  static constexpr unsigned buckets_per_level = 1U << level_bits;
  static constexpr unsigned due_bucket = level_count * buckets_per_level + 1;

  struct Node {
    std::uint64_t due_tick;
    std::uint32_t next;    ///< slot + 1, 0 = none
    std::uint32_t prev;    ///< slot + 1, 0 = first of its bucket
    std::uint32_t bucket;  ///< 1 .. due_bucket, 0 = not pending
  };

  [[nodiscard]] static std::uint64_t tick_of(TimePoint time) noexcept {
    return static_cast<std::uint64_t>(time.time_since_epoch().count()) >> 23;
  }
  void link(std::uint32_t slot) noexcept;
  /// The next tick at which a bucket expires or cascades, at most `limit`.
  [[nodiscard]] std::uint64_t next_stop(std::uint64_t limit) const noexcept;
  /// Moves time to `to`, cascades, and gathers what is due into due_bucket.
  void step_to(std::uint64_t to) noexcept;

  MappedArray<Node> nodes_;
  std::array<std::uint32_t, due_bucket + 1> heads_{};
  std::array<std::uint64_t, level_count> occupied_{};
  std::uint64_t now_tick_;
  std::uint32_t size_ = 0;
};

}  // namespace usher
