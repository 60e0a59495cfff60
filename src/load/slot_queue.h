// SlotQueue: the connections that wait for something, first come first served; each is in it at most once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace usher::load {

/// Bounded by its capacity; no allocation after construction. Not thread safe.
class SlotQueue {
 public:
  explicit SlotQueue(std::uint32_t capacity) : slots_(capacity), queued_(capacity) {}

  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  void push(std::uint32_t slot) noexcept {
    if (queued_[slot] != 0) return;
    queued_[slot] = 1;
    slots_[(first_ + count_++) % slots_.size()] = slot;
  }
  /// REQUIRES: !empty()
  std::uint32_t pop() noexcept {
    const std::uint32_t slot = slots_[first_];
    first_ = (first_ + 1) % slots_.size();
    --count_;
    queued_[slot] = 0;
    return slot;
  }

 private:
  std::vector<std::uint32_t> slots_;
  std::vector<std::uint8_t> queued_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace usher::load
