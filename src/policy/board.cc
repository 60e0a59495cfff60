// Board: the cells, and the few writes that are more than a store.
#include "usher/policy/board.h"

#include <algorithm>

#include "policy/peak_ewma.h"

namespace usher {

static_assert(sizeof(BackendCell) == 64, "a cell is a cache line: neighbours must not share one");
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "zeroed memory is a valid cell only while atomics hold nothing but their value");

void Board::set_enabled(BackendId id, bool enabled) noexcept {
  if (cells_[id.value].enabled.exchange(enabled, std::memory_order_relaxed) == enabled) return;
  epoch_.fetch_add(1, std::memory_order_release);
}

void Board::set_healthy(BackendId id, bool healthy) noexcept {
  if (cells_[id.value].healthy.exchange(healthy, std::memory_order_relaxed) == healthy) return;
  epoch_.fetch_add(1, std::memory_order_release);
}

void Board::set_max_connections(BackendId id, std::uint32_t limit) noexcept {
  if (cells_[id.value].max_connections.exchange(limit, std::memory_order_relaxed) == limit) return;
  epoch_.fetch_add(1, std::memory_order_release);
}

void Board::watch(BackendId id, Watch what) const noexcept {
  const BackendCell& cell = cells_[id.value];
  cell.load_watched.store(true);
  if (what == Watch::load_and_latency) cell.latency_watched.store(true);
}

void Board::note_latency(BackendId id, Duration took, TimePoint now) noexcept {
  BackendCell& cell = cells_[id.value];
  const std::int64_t now_ns = now.time_since_epoch().count();
  const std::int64_t before_ns = cell.latency_at_ns.exchange(now_ns, std::memory_order_relaxed);
  const auto sample = static_cast<std::uint64_t>(std::max<Duration::rep>(took.count(), 1));  // 0 says "unknown"
  const double left = peak_ewma_left(Duration(now_ns - before_ns));
  // After a few lost races other workers' samples of this very moment stand there, which is as good.
  std::uint64_t known = cell.latency_ns.load(std::memory_order_relaxed);
  for (int attempt = 0; attempt < 4; ++attempt) {
    std::uint64_t next = sample;
    if (known > sample) {
      next = static_cast<std::uint64_t>(static_cast<double>(known) * left + static_cast<double>(sample) * (1.0 - left));
      next = std::max(next, sample);
    }
    if (!cell.latency_ns.compare_exchange_weak(known, next)) continue;
    // What is greater or of a later time only raises a score; what was unknown had a score of its own; clocks of workers differ.
    const bool may_fall = next < known || known == 0 || now_ns < before_ns;
    if (may_fall && cell.latency_watched.load()) falls_.tell(id);
    return;
  }
}

}  // namespace usher
