// BenchReport for people: the final table, the line of progress, and the sentences about what went wrong.
#pragma once

#include <string>
#include <vector>

#include "bench/report_json.h"

namespace usher::bench {

/// "http http://a/: 50 connections, closed loop, 10s after 1s of warm-up"
std::string headline(const BenchReport& report);
/// The final table, several lines.
std::string report_table(const BenchReport& report);
/// Why the run isn't a good one, a sentence each, the worst first; none where all went well. Those decide the exit
/// status.
std::vector<std::string> complaints(const BenchReport& report);
/// What a reader of the figures should know besides: they are no errors.
std::vector<std::string> cautions(const BenchReport& report);

/// One second of a run.
struct Moment {
  Duration elapsed{};
  Duration whole{};  ///< warm-up and duration
  Duration warmup{};
  Duration since_last{};
  load::LoadCounts counts;   ///< of that second
  std::uint64_t errors = 0;  ///< of the whole run
  std::uint64_t open = 0;
  const load::Histogram* latency = nullptr;  ///< of that second; nullptr where it isn't known
};
std::string progress_line(load::LoadMode mode, const Moment& moment);

}  // namespace usher::bench
