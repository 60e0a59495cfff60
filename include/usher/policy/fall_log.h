// FallLog: whose score may have fallen lately, told to everybody who keeps scores sorted.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "usher/policy/backend.h"

namespace usher {

/// Any number of writers and readers; wait-free. Each reader remembers how far it has read, so all hear everything. It
/// holds the last fall_log_size entries; who has fallen behind further, or meets a writer at work, learns that it has
/// missed something, never what is wrong.
class FallLog {
 public:
  static constexpr std::uint64_t fall_log_size = 1024;

  /// Whoever reads `end()` from now on, and then the state, sees what the caller changed before.
  void tell(BackendId id) noexcept {
    const std::uint64_t number = end_.fetch_add(1, std::memory_order_acq_rel);
    slots_[number % fall_log_size].store(number << id_bits | id.value, std::memory_order_release);
  }
  /// Entries up to here, exclusive, are there or about to be.
  [[nodiscard]] std::uint64_t end() const noexcept { return end_.load(std::memory_order_acquire); }
  /// Entry `number`, or nothing: it was overwritten, or its writer isn't done.
  [[nodiscard]] std::optional<BackendId> at(std::uint64_t number) const noexcept {
    const std::uint64_t slot = slots_[number % fall_log_size].load(std::memory_order_acquire);
    if (slot >> id_bits != number) return std::nullopt;
    return BackendId{static_cast<std::uint32_t>(slot & (backend_count_max - 1))};
  }

 private:
  static constexpr unsigned id_bits = 14;
  static_assert(backend_count_max == 1U << id_bits, "a slot holds any id beside its entry's number");

  alignas(64) std::atomic<std::uint64_t> end_{
      fall_log_size};  // so that an empty slot is never the one that is asked for
  alignas(64) std::array<std::atomic<std::uint64_t>, fall_log_size> slots_{};
};

}  // namespace usher
