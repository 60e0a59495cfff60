// Pacer: when each request of an open loop is due. Pure.
#pragma once

#include <cstdint>

#include "usher/base/clock.h"

namespace usher::load {

/// An open loop sends at its own pace, whatever the answers do, and counts each latency from when the request was due:
/// a server that stalls is charged for every request that should have been sent meanwhile, not only for the one that
/// met the stall (Gil Tene, "How NOT to Measure Latency"; wrk2). Not thread safe.
class Pacer {
 public:
  /// Evenly `per_second`, from `start` on, of which this is share `index` of `shares` (one a thread), interleaved.
  Pacer(TimePoint start, double per_second, unsigned index = 0, unsigned shares = 1) noexcept
      : start_(start), interval_ns_(1e9 / per_second), index_(index), shares_(shares) {}

  /// When the next one is due.
  [[nodiscard]] TimePoint next() const noexcept { return due_at(taken_); }
  [[nodiscard]] bool due(TimePoint now) const noexcept { return next() <= now; }
  /// Hands out the next one; its latency counts from the time returned.
  TimePoint take() noexcept { return due_at(taken_++); }

  /// Gives up what was due before now, where nothing wanted it.
  void skip_to(TimePoint now) noexcept {
    const double passed = static_cast<double>((now - start_).count()) / interval_ns_ - index_;
    const std::uint64_t due = passed < 0 ? 0 : static_cast<std::uint64_t>(passed / shares_) + 1;
    if (due > taken_) taken_ = due;
  }

  /// No connection is free: what is due by now is late. Each is counted once, however often this is called.
  void note_none_free(TimePoint now) noexcept {
    if (late_until_ < taken_) late_until_ = taken_;
    while (due_at(late_until_) <= now) {
      ++late_until_;
      ++late_;
    }
  }
  [[nodiscard]] std::uint64_t late() const noexcept { return late_; }
  /// Those that were late when note_none_free() was last called, and have not been taken since.
  [[nodiscard]] std::uint64_t overdue() const noexcept { return late_until_ > taken_ ? late_until_ - taken_ : 0; }

 private:
  [[nodiscard]] TimePoint due_at(std::uint64_t number) const noexcept {
    // From the start each time: adding intervals up would drift by their rounding.
    const double place = static_cast<double>(number) * shares_ + index_;
    return start_ + Duration(static_cast<std::int64_t>(place * interval_ns_));
  }

  TimePoint start_;
  double interval_ns_;
  double index_;
  double shares_;
  std::uint64_t taken_ = 0;
  std::uint64_t late_ = 0;
  std::uint64_t late_until_ = 0;
};

}  // namespace usher::load
