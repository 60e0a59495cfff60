// BenchReport as JSON: what --json writes and --compare reads.
#pragma once

#include <string>
#include <string_view>

#include "usher/base/error.h"
#include "usher/load/plan.h"
#include "usher/load/report.h"

namespace usher::bench {

/// What was asked for and what came of it.
struct BenchReport {
  std::string target;  ///< HOST:PORT
  std::string url;     ///< http: the whole of it; "" in other modes
  load::LoadPlan plan;
  load::RunReport counted;
  std::string started_at;  ///< RFC 3339
};

/// The URL, or the target.
std::string_view aim(const BenchReport& report);

/// Of the tool's threads, 0 to 1: on a CPU, and ready to run without one.
double busy_share(const BenchReport& report);
double wait_share(const BenchReport& report);
/// Above this share of CPU and waiting, the figures tell of the tool rather than of the target.
inline constexpr double busy_share_max = 0.9;

/// Whether a mode sends requests and waits for their answers: the others have no latency.
bool has_requests(load::LoadMode mode);
std::string_view mode_word(load::LoadMode mode);
std::string_view error_word(load::LoadError kind);

/// One object, with a newline.
std::string report_json(const BenchReport& report);

}  // namespace usher::bench
