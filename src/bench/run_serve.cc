// Serves a backend until a signal or its time.
#include <fmt/format.h>

#include <cstdio>
#include <thread>

#include "bench/run_modes.h"
#include "bench/words.h"
#include "usher/load/serve_run.h"

namespace usher::bench {
namespace {

constexpr Duration glance = std::chrono::milliseconds(50);

std::string kind_word(load::ServeKind kind) {
  switch (kind) {
    case load::ServeKind::echo:
      return "echo";
    case load::ServeKind::sink:
      return "sink";
    case load::ServeKind::source:
      return "source";
    case load::ServeKind::http:
      return "http";
    case load::ServeKind::answer:
      return "answer";
  }
  return "";
}

}  // namespace

int run_serve_mode(const BenchArguments& arguments) {
  raise_open_files();
  watch_signals();
  auto run = load::ServeRun::start(arguments.serve);
  if (!run) {
    complain(run.error().message);
    return exit_failed;
  }
  const bool speaks = arguments.loudness == Loudness::normal;
  if (speaks) {
    for (const Endpoint& address : (*run)->addresses())
      print(fmt::format("serving {} on {}\n", kind_word(arguments.serve.kind), address.text()));
  }
  const TimePoint start = Clock::now();
  while (signals_seen.load(std::memory_order_relaxed) == 0 &&
         (!arguments.serve_for || Clock::now() - start < *arguments.serve_for)) {
    if (const auto health = (*run)->health(); !health) {
      complain(health.error().message);
      return exit_failed;
    }
    std::this_thread::sleep_for(glance);
  }
  (*run)->stop();
  const load::ServeCounts counts = (*run)->counts();
  if (speaks) {
    print(fmt::format("accepted {}, requests {}, received {}, sent {}\n", count_text(counts.accepted),
                      count_text(counts.requests), bytes_text(static_cast<double>(counts.bytes_received)),
                      bytes_text(static_cast<double>(counts.bytes_sent))));
  }
  if (counts.refused > 0)
    complain(fmt::format("{} clients spoke no {} and were cut off", count_text(counts.refused),
                         kind_word(arguments.serve.kind)));
  if (counts.shed > 0)
    complain(fmt::format("{} accepts failed: no descriptor or no place was left (RLIMIT_NOFILE, --connections)",
                         count_text(counts.shed)));
  return counts.refused + counts.shed > 0 ? exit_failed : exit_done;
}

}  // namespace usher::bench
