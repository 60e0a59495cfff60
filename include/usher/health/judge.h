// Judge: check results in, flips out. One per backend; pure, no clock and no sockets of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "usher/base/clock.h"
#include "usher/base/rng.h"
#include "usher/health/options.h"

namespace usher {

/// One check's result. `reason` is for people: "connection refused", "status 503, expected 200-399", "timed out after
/// 1s while connecting"; a pass has one too ("connected", "status 200").
struct CheckResult {
  bool passed = false;
  std::string reason;
};

/// "timed out after 1s DOING", the time in the largest unit that says it exactly.
std::string timed_out(Duration timeout, std::string_view doing);

/// A change of mind, to be logged as one line.
struct Flip {
  bool up = false;
  std::string reason;  ///< "3 checks failed in a row: connection refused"
};

/// Rise and fall as in HAProxy: `fall` failures in a row take a backend down, `rise` passes in a row bring it up. A
/// backend that has never been judged needs one pass to come up (a flip, when it started down), and one failure to be
/// known as down (no flip, as it was down). One that starts up needs `fall` failures as any other. Not thread safe.
class Judge {
 public:
  Judge(const HealthOptions& options, bool starts_up);

  std::optional<Flip> observe(const CheckResult& result);
  [[nodiscard]] bool up() const noexcept { return up_; }
  /// At least one result was seen.
  [[nodiscard]] bool judged() const noexcept { return judged_; }
  /// The run of results that speak against the present state.
  [[nodiscard]] std::uint32_t streak() const noexcept { return streak_; }
  [[nodiscard]] const std::string& last_reason() const noexcept { return last_reason_; }

  /// How long until the next check: `interval`, or `fast_interval` while a flip is being decided, less or more up to 10
  /// % so that checks don't march in step.
  [[nodiscard]] Duration next_in(Rng& rng) const;
  /// The delay before the very first check: uniform in [0, fast_interval).
  [[nodiscard]] Duration first_in(Rng& rng) const;
  /// New options, the state kept (a reload keeps what is known).
  void adopt(const HealthOptions& options);

 private:
  HealthOptions options_;
  bool up_;
  bool judged_ = false;
  std::uint32_t streak_ = 0;
  std::string last_reason_;
};

}  // namespace usher
