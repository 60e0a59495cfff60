// RunReport: what a run counted. Values.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "usher/base/clock.h"
#include "usher/load/histogram.h"

namespace usher::load {

struct LoadCounts {
  std::uint64_t requests = 0;  ///< answered in full
  std::uint64_t connects = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;

  LoadCounts& operator+=(const LoadCounts& other) noexcept {
    requests += other.requests;
    connects += other.connects;
    bytes_sent += other.bytes_sent;
    bytes_received += other.bytes_received;
    return *this;
  }
  friend LoadCounts operator-(LoadCounts a, const LoadCounts& b) noexcept {
    a.requests -= b.requests;
    a.connects -= b.connects;
    a.bytes_sent -= b.bytes_sent;
    a.bytes_received -= b.bytes_received;
    return a;
  }
};

enum class LoadError : std::uint8_t {
  connect_refused,
  connect_timeout,
  connect_unreachable,
  reset,
  closed_early,  ///< before the end of an answer
  timeout,       ///< a request without an answer
  bad_answer,    ///< no HTTP, or more than was asked for
  http_status,   ///< a whole answer of 400 or above
  local,         ///< this machine's own limits: ports, descriptors, memory
};
inline constexpr std::size_t load_error_kinds = 9;

struct LoadErrors {
  std::array<std::uint64_t, load_error_kinds> of{};
  int last_connect_errno = 0;
  int last_local_errno = 0;

  [[nodiscard]] std::uint64_t operator[](LoadError kind) const noexcept { return of[static_cast<std::size_t>(kind)]; }
  void count(LoadError kind) noexcept { ++of[static_cast<std::size_t>(kind)]; }
  [[nodiscard]] std::uint64_t total() const noexcept {
    std::uint64_t sum = 0;
    for (const std::uint64_t one : of) sum += one;
    return sum;
  }
  LoadErrors& operator+=(const LoadErrors& other) noexcept {
    for (std::size_t i = 0; i < of.size(); ++i) of[i] += other.of[i];
    if (other.last_connect_errno != 0) last_connect_errno = other.last_connect_errno;
    if (other.last_local_errno != 0) last_local_errno = other.last_local_errno;
    return *this;
  }
};

/// How finely a report tells its rate and its latency apart, so that a reader sees whether they were steady.
inline constexpr std::size_t load_slices = 10;

/// How a run came to its end.
enum class LoadEnding : std::uint8_t { time_over, requests_done, interrupted, nothing_connected };

struct RunReport {
  LoadEnding ending = LoadEnding::time_over;
  Duration warmup{};    ///< as long as it was
  Duration measured{};  ///< without the warm-up
  LoadCounts total;     ///< the warm-up included
  LoadCounts counted;   ///< without it, as everything below
  LoadErrors errors;    ///< of the whole run
  Histogram latency;    ///< from when the request was due
  Histogram connect_latency;
  std::array<std::uint64_t, 6> statuses{};  ///< http: by hundreds, of the whole run
  std::uint64_t late_sends = 0;
  std::uint64_t unsent = 0;      ///< open loop: due, and not sent when the time was over
  std::uint64_t unanswered = 0;  ///< sent, and without a whole answer when the time was over
  Duration oldest_unanswered{};
  std::uint64_t held = 0;  ///< connections open at the end
  std::uint64_t closed_by_peer = 0;
  /// What was moved in each tenth of the measured time (requests; bytes both ways where a mode has none); as many as
  /// were whole.
  std::array<std::uint64_t, load_slices> slices{};
  std::size_t slices_whole = 0;
  /// Latencies of the requests that `slices` counts; empty where a mode has none.
  std::array<CoarseHistogram, load_slices> slice_latency;
  double cpu_user_seconds = 0;
  double cpu_system_seconds = 0;
  double cpu_wait_seconds = 0;  ///< ready to run, without a CPU (/proc/thread-self/schedstat)
};

/// Where a run stands; for a live view.
struct LoadProgress {
  LoadCounts total;
  std::uint64_t errors = 0;
  std::uint64_t open = 0;  ///< connections
};

}  // namespace usher::load
