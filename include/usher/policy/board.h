// Board: what all workers know about each backend right now. It outlives snapshots; a cell per BackendId.
#pragma once

#include <atomic>
#include <cstdint>

#include "usher/base/clock.h"
#include "usher/base/mapped_array.h"
#include "usher/policy/backend.h"

namespace usher {

/// One backend's live state, on a cache line of its own. Every member is atomic: workers and control read and write it at
/// any time. Operator intent and observed health are two bits that nobody merges.
struct alignas(64) BackendCell {
  std::atomic<std::uint32_t> active{0};             ///< sessions that dial it or hold it, over all workers
  std::atomic<std::uint32_t> max_connections{0};    ///< 0 = no limit
  std::atomic<bool> enabled{false};                 ///< the operator's intent (drain and disable clear it)
  std::atomic<bool> healthy{false};                 ///< what the checks say; written by control only
  std::atomic<std::uint64_t> latency_ns{0};         ///< peak-EWMA of connect time; 0 = nothing known yet
  std::atomic<std::int64_t> latency_at_ns{0};       ///< when latency_ns was last written (Clock)
};

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

  /// Control changes intent and health through these, so that pickers may cache what depends on them: `epoch` moves with
  /// every change that is visible in them.
  void set_enabled(BackendId id, bool enabled) noexcept;
  void set_healthy(BackendId id, bool healthy) noexcept;
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_.load(std::memory_order_acquire); }

  /// A connect to `id` took `took`: peak-EWMA (jumps up at once, decays over 10 s), after Finagle's PeakEwma. Wait-free.
  void note_latency(BackendId id, Duration took, TimePoint now) noexcept;

 private:
  MappedArray<BackendCell> cells_{backend_count_max};
  std::atomic<std::uint64_t> epoch_{1};
};

}  // namespace usher
