// EventLog: the last events, numbered. Bounded; the oldest leave first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "usher/base/log.h"
#include "usher/control/service.h"

namespace usher {

/// Thread safe.
class EventLog {
 public:
  static constexpr std::size_t events_max = 10000;

  /// Keeps the event, and logs it as one line.
  void add(LogLevel level, std::string kind, std::string subject, std::string message) {
    log_line(level, "control", subject.empty() ? message : fmt::format("{}: {}", subject, message));
    const std::lock_guard guard(lock_);
    events_.push_back(Event{++last_, std::chrono::system_clock::now(), std::move(kind), std::move(subject), std::move(message)});
    if (events_.size() > events_max) events_.pop_front();
  }

  [[nodiscard]] std::vector<Event> newest(std::size_t max) const {
    const std::lock_guard guard(lock_);
    const std::size_t count = std::min(max, events_.size());
    return {events_.end() - static_cast<std::ptrdiff_t>(count), events_.end()};
  }

 private:
  mutable std::mutex lock_;
  std::deque<Event> events_;
  std::uint64_t last_ = 0;
};

}  // namespace usher
