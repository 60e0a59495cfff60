// Runs load: resolves the target, shows how it goes once a second, and reports.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "bench/report_text.h"
#include "bench/run_modes.h"
#include "bench/words.h"
#include "usher/load/load_run.h"

namespace usher::bench {
namespace {

using namespace load;

/// Rings, files, standard streams, what a library opens while a name is looked up.
constexpr std::uint64_t own_files = 64;
constexpr Duration glance = std::chrono::milliseconds(50);
constexpr Duration between_lines = std::chrono::seconds(1);

std::string now_rfc3339() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

/// A line a second: on a terminal always the same one.
class LiveView {
 public:
  LiveView(const LoadPlan& plan, Loudness loudness)
      : mode_(plan.mode),
        warmup_(plan.warmup),
        whole_(plan.warmup + plan.duration),
        shown_(loudness == Loudness::normal),
        terminal_(::isatty(STDERR_FILENO) == 1) {}

  void look(LoadRun& run) {
    const TimePoint now = Clock::now();
    if (!shown_ || now < next_) return;
    auto recent = run.recent();
    if (!recent) return;  // at the next glance
    const LoadProgress progress = run.progress();
    const Moment moment{.elapsed = now - start_,
                        .whole = whole_,
                        .warmup = warmup_,
                        .since_last = now - last_,
                        .counts = progress.total - before_,
                        .errors = progress.errors,
                        .open = progress.open,
                        .latency = &*recent};
    const std::string line = progress_line(mode_, moment);
    std::fputs((terminal_ ? "\r\x1b[K" + line : line + "\n").c_str(), stderr);
    std::fflush(stderr);
    drawn_ = terminal_;
    before_ = progress.total;
    last_ = now;
    next_ += between_lines;
    if (next_ < now) next_ = now + between_lines;
  }

  void finish() {
    if (drawn_) std::fputs("\r\x1b[K", stderr);
  }

 private:
  LoadMode mode_;
  Duration warmup_;
  Duration whole_;
  bool shown_;
  bool terminal_;
  bool drawn_ = false;
  TimePoint start_ = Clock::now();
  TimePoint last_ = start_;
  TimePoint next_ = start_ + between_lines;
  LoadCounts before_;
};

Result<void> write_file(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return fail_system(fmt::format("can't write {}", path));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int code = errno;
  if (std::fclose(file) != 0 || !written)
    return fail_system(fmt::format("can't write {}", path), written ? errno : code);
  return {};
}

/// The table goes where the JSON doesn't. True where all of it was written.
bool show(const BenchReport& report, const BenchArguments& arguments) {
  bool whole = true;
  if (arguments.loudness == Loudness::normal && report.counted.total.connects > 0) {
    std::string text = report_table(report);
    for (const std::string& caution : cautions(report)) text += "note: " + caution + "\n";
    if (arguments.json_file == "-") {
      std::fputs(text.c_str(), stderr);
    } else {
      whole = print(text);
    }
  }
  if (arguments.json_file == "-") {
    whole = print(report_json(report)) && whole;
  } else if (!arguments.json_file.empty()) {
    if (const auto written = write_file(arguments.json_file, report_json(report)); !written) {
      complain(written.error().message);
      whole = false;
    }
  }
  return whole;
}

Result<void> check_limits(const LoadPlan& plan) {
  const std::uint64_t files = raise_open_files();
  if (plan.connections + own_files <= files) return {};
  return fail(fmt::format(
      "can't open {} connections: the limit of open files (RLIMIT_NOFILE, ulimit -n) is {}, which is enough for {}",
      count_text(plan.connections), count_text(files), count_text(files > own_files ? files - own_files : 0)));
}

}  // namespace

int run_load_mode(BenchArguments arguments) {
  LoadPlan& plan = arguments.plan;
  auto target = resolve(arguments.target);
  if (!target) {
    complain(target.error().message);
    return exit_failed;
  }
  plan.target = *target;
  for (const Endpoint& source : plan.sources) {
    if (source.family() != plan.target.family()) {
      complain(
          fmt::format("--bind {} and the target {} are of different families", source.ip_text(), plan.target.text()));
      return exit_usage;
    }
  }
  if (const auto enough = check_limits(plan); !enough) {
    complain(enough.error().message);
    return exit_failed;
  }
  BenchReport report{
      .target = arguments.target.text(),
      .url = plan.mode == LoadMode::http ? "http://" + arguments.target.text() + arguments.target.path : "",
      .plan = plan,
      .counted = {},
      .started_at = now_rfc3339()};
  if (arguments.loudness == Loudness::normal) std::fputs((headline(report) + "\n").c_str(), stderr);
  watch_signals();
  auto run = LoadRun::start(plan);
  if (!run) {
    complain(run.error().message);
    return exit_failed;
  }
  LiveView view(plan, arguments.loudness);
  while (!(*run)->wait(glance)) {
    if (signals_seen.load(std::memory_order_relaxed) > 0) (*run)->stop();
    view.look(**run);
  }
  view.finish();
  auto counted = (*run)->finish();
  if (!counted) {
    complain(counted.error().message);
    return exit_failed;
  }
  report.counted = std::move(*counted);
  const bool whole = show(report, arguments);
  const auto wrong = complaints(report);
  for (const std::string& sentence : wrong) complain(sentence);
  return wrong.empty() && whole ? exit_done : exit_failed;
}

}  // namespace usher::bench
