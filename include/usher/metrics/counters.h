// What a worker counts: plain numbers with one writer, read by anyone at any time.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <string_view>

#include "usher/base/clock.h"
#include "usher/metrics/outcome.h"

namespace usher {

/// Most listeners over the life of one process (ids are reused once a removed listener's sessions are gone).
inline constexpr std::uint32_t listener_count_max = 1024;

/// One writer, any number of readers; no locked instruction.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void sub(std::uint64_t n = 1) noexcept { value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// Durations in 24 buckets, each twice the one before: bucket i counts those below 2^i * 64 us; the last takes the rest.
class DurationHistogram {
 public:
  static constexpr std::size_t bucket_count = 24;
  static constexpr Duration first_bound = std::chrono::microseconds(64);
  void note(Duration took) noexcept {
    const auto units = static_cast<std::uint64_t>(took.count() < 0 ? 0 : took / first_bound);
    const auto bucket = static_cast<std::size_t>(std::bit_width(units));
    buckets_[bucket < bucket_count ? bucket : bucket_count - 1].add();
    sum_ns_.add(static_cast<std::uint64_t>(took.count() < 0 ? 0 : took.count()));
  }
  [[nodiscard]] std::uint64_t bucket(std::size_t i) const noexcept { return buckets_[i].get(); }
  [[nodiscard]] std::uint64_t sum_ns() const noexcept { return sum_ns_.get(); }

 private:
  std::array<Counter, bucket_count> buckets_;
  Counter sum_ns_;
};

enum class ConnectFailure : std::uint8_t { refused, timeout, unreachable, no_local_address, other };
inline constexpr std::size_t connect_failure_count = 5;
[[nodiscard]] std::string_view name(ConnectFailure reason) noexcept;

/// A listener's row in one worker's sheet. Law 1: accepted = active + the sum of closed.
struct ListenerCounters {
  Counter accepted;
  Counter active;
  std::array<Counter, outcome_count> closed;
  Counter bytes_in;   ///< client to backend, as delivered to the backend
  Counter bytes_out;  ///< backend to client, as delivered to the client
  DurationHistogram duration;
};

/// A backend's row in one worker's sheet. Active sessions are in the Board.
struct BackendCounters {
  Counter connections;  ///< connects that succeeded
  std::array<Counter, connect_failure_count> connect_failures;
  Counter bytes_in;
  Counter bytes_out;
  DurationHistogram connect_duration;
};

/// What a worker counts about itself. Law 2: filled = drained + piped bytes in flight; law 3: submitted = completed + in flight.
struct WorkerCounters {
  Counter turns;
  Counter completions;
  Counter operations_submitted;
  Counter operations_completed;
  Counter operations_in_flight;
  Counter stale_completions;   ///< a late answer to a slot that was reused
  Counter bytes_filled;
  Counter bytes_drained;
  Counter bytes_piped;         ///< now in pipes
  Counter bytes_discarded;     ///< were in a pipe when their session died
  Counter pipes_open;
  Counter pipes_leased;
  Counter pipes_short;         ///< a turn that found no pipe and copied instead
  Counter accept_errors;       ///< EMFILE and its like, by count
  Counter sessions;            ///< slots in use
};

/// One worker's sheet. Rows are found by dense id; memory is touched only where something counts. Written by its worker, read
/// by anyone. REQUIRES: an id is below listener_rows or backend_rows.
class Sheet {
 public:
  static constexpr std::uint32_t listener_rows = listener_count_max;
  static constexpr std::uint32_t backend_rows = 16384;  ///< policy's backend_count_max, which this room can't include

  /// Throws std::bad_alloc where the kernel gives no address space.
  Sheet();
  Sheet(const Sheet&) = delete;
  Sheet& operator=(const Sheet&) = delete;
  ~Sheet();
  WorkerCounters worker;
  [[nodiscard]] ListenerCounters& listener(std::uint32_t id) noexcept { return listeners_[id]; }
  [[nodiscard]] const ListenerCounters& listener(std::uint32_t id) const noexcept { return listeners_[id]; }
  [[nodiscard]] BackendCounters& backend(std::uint32_t id) noexcept { return backends_[id]; }
  [[nodiscard]] const BackendCounters& backend(std::uint32_t id) const noexcept { return backends_[id]; }

 private:
  ListenerCounters* listeners_;
  BackendCounters* backends_;
};

}  // namespace usher
