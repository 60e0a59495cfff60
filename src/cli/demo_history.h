// DemoHistory: the last moments of the demo, and what the view and the summary make of them.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "cli/demo_load.h"
#include "cli/live_view.h"
#include "usher/base/clock.h"
#include "usher/control/service.h"

namespace usher::cli {

/// What usher and the load said at one moment; a value.
struct DemoMoment {
  TimePoint at;
  StatusReport status;
  std::vector<BackendReport> backends;
  LoadReport load;
};

/// Rates and percentiles are over the last `window`. Not thread safe.
class DemoHistory {
 public:
  static constexpr Duration window = std::chrono::seconds(3);
  static constexpr std::size_t moments_max = 64;
  static constexpr std::size_t events_max = 200;

  explicit DemoHistory(TimePoint started) : started_(started) {}

  void add(DemoMoment moment);
  void add_event(std::string text);
  /// Takes those that are newer than what it has; returns them as lines.
  std::vector<std::string> add_events(const std::vector<Event>& events);

  /// Without the URLs, the remarks and the footer, which the demo knows.
  [[nodiscard]] ViewFrame frame() const;
  /// One JSON object and a newline: seconds, requests, errors, reconnects, backends {NAME: answers}, flips, p50_ms,
  /// p99_ms, connections_accepted; over the whole time.
  [[nodiscard]] std::string summary_json() const;
  [[nodiscard]] std::string summary_text() const;
  [[nodiscard]] std::uint64_t flips() const;

 private:
  TimePoint started_;
  std::deque<DemoMoment> moments_;
  std::deque<std::string> events_;
  std::uint64_t last_event_ = 0;
};

/// "15:04:05", local time.
std::string wall_clock_text(WallTime at);

}  // namespace usher::cli
