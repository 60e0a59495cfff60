// Reminders: slots that want to be looked at once more after a fixed time, each at most once in the list.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "usher/base/clock.h"

namespace usher {

/// Not thread safe. Allocates only in its constructor. A slot that was reused meanwhile is reminded of all the same.
class Reminders {
 public:
  Reminders(std::uint32_t slots, Duration after) : after_(after), listed_(slots) {
    list_.reserve(slots);
    taken_.reserve(slots);
  }
  void add(std::uint32_t slot, TimePoint now) noexcept {
    if (listed_[slot]) return;
    listed_[slot] = true;
    list_.push_back(slot);
    if (!due_) due_ = now + after_;
  }
  /// When the oldest one's time has come; the younger ones are taken with it.
  [[nodiscard]] const std::optional<TimePoint>& due() const noexcept { return due_; }
  /// Calls `look(slot)` for each, once they are due. `look` may add again.
  template <typename Look>
  void take(TimePoint now, Look&& look) noexcept {
    if (!due_ || *due_ > now) return;
    due_.reset();
    std::swap(list_, taken_);
    for (const std::uint32_t slot : taken_) listed_[slot] = false;
    for (const std::uint32_t slot : taken_) look(slot);
    taken_.clear();
  }

 private:
  const Duration after_;
  std::vector<std::uint32_t> list_;
  std::vector<std::uint32_t> taken_;
  std::vector<bool> listed_;  ///< by slot
  std::optional<TimePoint> due_;
};

}  // namespace usher
