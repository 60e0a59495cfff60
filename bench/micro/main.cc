// The main of every micro-benchmark program: Google Benchmark's, and an exit status that tells.
//
//   0   everything that this machine can run was run, or, with --benchmark_list_tests, listed
//   1   a benchmark reported an error, or none was run
//   2   an option that nobody knows
//   77  this machine can run none of those that were asked for
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string_view>
#include <vector>

#include "micro.h"

namespace {

/// Google Benchmark 1.8 renamed what says that a run was cut short; Debian 12 has 1.7, Debian 13 a later one.
template <typename Run>
bool cut_short(const Run& run) {
  if constexpr (requires { run.error_occurred; }) {
    return run.error_occurred;
  } else {
    return run.skipped != decltype(run.skipped){};
  }
}

template <typename Run>
std::string_view reason(const Run& run) {
  if constexpr (requires { run.error_message; }) {
    return run.error_message;
  } else {
    return run.skip_message;
  }
}

/// Shows what ConsoleReporter shows, and counts.
class CountingReporter : public benchmark::ConsoleReporter {
 public:
  using ConsoleReporter::ConsoleReporter;

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (!cut_short(run)) {
        ++good;
      } else if (reason(run).starts_with(usher::micro::not_here_prefix)) {
        ++not_here;
      } else {
        ++bad;
      }
    }
    ConsoleReporter::ReportRuns(runs);
  }

  std::size_t good = 0;
  std::size_t not_here = 0;
  std::size_t bad = 0;
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  std::signal(SIGPIPE, SIG_IGN);  // as usher itself: splice(2) raises it
  using Reporter = benchmark::ConsoleReporter;
  CountingReporter reporter(::isatty(STDOUT_FILENO) == 1 ? Reporter::OO_ColorTabular : Reporter::OO_Tabular);
  const std::size_t chosen = benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
  if (reporter.bad != 0) {
    std::fprintf(stderr, "%s: %zu failed\n", argv[0], reporter.bad);
    return 1;
  }
  if (reporter.good != 0) return 0;
  if (reporter.not_here != 0) return 77;
  if (chosen != 0) return 0;  // they were only listed
  std::fprintf(stderr, "%s: nothing was run\n", argv[0]);
  return 1;
}
