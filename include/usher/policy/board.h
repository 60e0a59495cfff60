// Board: what all workers know about each backend right now. It outlives snapshots; a cell per BackendId.
#pragma once

#include <atomic>
#include <cstdint>

#include "usher/base/clock.h"
#include "usher/base/mapped_array.h"
#include "usher/policy/backend.h"
#include "usher/policy/fall_log.h"

namespace usher {

/// One backend's live state, on a cache line of its own. Every member is atomic: workers and control read and write it at
/// any time. Operator intent and observed health are two bits that nobody merges.
struct alignas(64) BackendCell {
  std::atomic<std::uint32_t> active{0};             ///< sessions that dial it or hold it, over all workers; lower it by leave()
  std::atomic<std::uint32_t> max_connections{0};    ///< 0 = no limit
  std::atomic<bool> enabled{false};                 ///< the operator's intent (drain and disable clear it)
  std::atomic<bool> healthy{false};                 ///< what the checks say; written by control only
  mutable std::atomic<bool> load_watched{false};    ///< some picker wants to hear when `active` falls
  mutable std::atomic<bool> latency_watched{false}; ///< the same of latency_ns
  std::atomic<std::uint64_t> latency_ns{0};         ///< peak-EWMA of connect time; 0 = nothing known yet
  std::atomic<std::int64_t> latency_at_ns{0};       ///< when latency_ns was last written (Clock)
};

/// What a picker that keeps scores sorted wants to be told of.
enum class Watch { load, load_and_latency };

class Board {
 public:
  /// Reserves a cell for each possible BackendId (1 MiB of addresses; memory is taken as cells are touched). Throws
  /// std::bad_alloc when even that fails.
  Board() = default;
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  [[nodiscard]] BackendCell& operator[](BackendId id) noexcept { return cells_[id.value]; }
  [[nodiscard]] const BackendCell& operator[](BackendId id) const noexcept { return cells_[id.value]; }

  /// Enabled, healthy and below its own limit.
  [[nodiscard]] bool ready(BackendId id) const noexcept {
    const BackendCell& cell = cells_[id.value];
    return cell.enabled.load(std::memory_order_relaxed) && cell.healthy.load(std::memory_order_relaxed) && has_room(id);
  }
  [[nodiscard]] bool has_room(BackendId id) const noexcept {
    const BackendCell& cell = cells_[id.value];
    const std::uint32_t max = cell.max_connections.load(std::memory_order_relaxed);
    return max == 0 || cell.active.load(std::memory_order_relaxed) < max;
  }

  /// Control changes intent, health and limits through these, so that pickers may cache what depends on them: `epoch` moves
  /// with every change that is visible in them.
  void set_enabled(BackendId id, bool enabled) noexcept;
  void set_healthy(BackendId id, bool healthy) noexcept;
  void set_max_connections(BackendId id, std::uint32_t limit) noexcept;
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_.load(std::memory_order_acquire); }

  /// A session comes to `id`, and goes. Wait-free. Pickers find out for themselves that a load has risen, when they look at
  /// who they are about to choose; that one has fallen they must be told, so nobody lowers `active` in another way.
  void enter(BackendId id) noexcept { cells_[id.value].active.fetch_add(1, std::memory_order_relaxed); }
  void leave(BackendId id) noexcept {
    // Sequentially consistent, as watch() and a score's load are: a leaver that sees no watcher was there before its first look.
    cells_[id.value].active.fetch_sub(1);
    if (cells_[id.value].load_watched.load()) falls_.tell(id);
  }

  /// A connect to `id` took `took`: peak-EWMA (jumps up at once, decays over 10 s), after Finagle's PeakEwma. Wait-free.
  void note_latency(BackendId id, Duration took, TimePoint now) noexcept;

  /// From now on falls() tells of `id`. For ever: a watch is a bit, and an entry that nobody needs costs little.
  void watch(BackendId id, Watch what) const noexcept;
  [[nodiscard]] const FallLog& falls() const noexcept { return falls_; }

 private:
  MappedArray<BackendCell> cells_{backend_count_max};
  std::atomic<std::uint64_t> epoch_{1};
  FallLog falls_;
};

}  // namespace usher
