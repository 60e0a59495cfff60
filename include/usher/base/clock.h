// Time as usher counts it: nanoseconds of CLOCK_MONOTONIC, in a type of its own.
#pragma once

#include <time.h>

#include <chrono>

namespace usher {

using Duration = std::chrono::nanoseconds;

/// Satisfies std::chrono's Clock; steady, thread safe (clock_gettime(2) through the vDSO).
struct Clock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Clock>;
  static constexpr bool is_steady = true;
  static time_point now() noexcept {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return time_point(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
  }
};
using TimePoint = Clock::time_point;

}  // namespace usher
