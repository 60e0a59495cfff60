// BenchArguments: the command line of usher-bench as a value. No sockets, no names looked up.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "bench/target.h"
#include "usher/base/clock.h"
#include "usher/load/plan.h"

namespace usher::bench {

inline constexpr int exit_done = 0;
inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;

enum class BenchVerb { load, serve, compare };
enum class Loudness { normal, quiet };

struct BenchArguments {
  BenchVerb verb = BenchVerb::load;
  BenchTarget target;                     ///< load: still to be resolved into plan.target
  load::LoadPlan plan;                    ///< load
  load::ServePlan serve;                  ///< serve
  std::optional<Duration> serve_for;      ///< serve: nothing = until a signal
  std::vector<std::string> report_files;  ///< compare: two
  std::string json_file;                  ///< "" = none, "-" = stdout
  Loudness loudness = Loudness::normal;
};

/// --help, --version (status 0) and mistakes (status 2): what to print, with its newline.
struct BenchAnswer {
  int status = exit_done;
  std::string out;
  std::string err;
};

/// `words` without the program's name.
std::expected<BenchArguments, BenchAnswer> parse_bench_arguments(const std::vector<std::string>& words);

}  // namespace usher::bench
