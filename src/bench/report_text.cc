// BenchReport for people.
#include "bench/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "bench/tenths.h"
#include "bench/words.h"
#include "usher/config/units.h"

namespace usher::bench {
namespace {

using namespace load;

std::string percentile_text(const Histogram& latency, double share) {
  const auto found = latency.settled_percentile(share);
  return found ? latency_text(*found) : "-";
}

std::string latency_row(std::string_view name, const Histogram& latency) {
  return fmt::format("{:<16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n", name, latency_text(latency.min()),
                     latency_text(latency.mean()), percentile_text(latency, 0.5), percentile_text(latency, 0.9),
                     percentile_text(latency, 0.99), percentile_text(latency, 0.999), latency_text(latency.max()));
}

/// Whether a tail was there all the time, or came from one moment; "" where a tenth can't say.
std::string tenths_row(const RunReport& counted) {
  if (counted.slices_whole < load_slices) return "";
  std::vector<double> seconds;
  for (const auto& p99 : p99_by_tenths(counted)) {
    if (!p99) return "";
    seconds.push_back(*p99);
  }
  const double worst = std::ranges::max(seconds);
  return fmt::format("{:<16}{:>10} in the median tenth of the time, {} in the worst\n", "p99 by tenths",
                     seconds_text(median(std::move(seconds))), seconds_text(worst));
}

std::string error_sentence(LoadError kind, std::uint64_t count) {
  const std::string many = count_text(count);
  switch (kind) {
    case LoadError::connect_refused:
      return fmt::format("{} connects were refused", many);
    case LoadError::connect_timeout:
      return fmt::format("{} connects timed out", many);
    case LoadError::connect_unreachable:
      return fmt::format("{} connects didn't reach the target", many);
    case LoadError::reset:
      return fmt::format("{} connections were reset", many);
    case LoadError::closed_early:
      return fmt::format("{} connections were closed before the end of an answer", many);
    case LoadError::timeout:
      return fmt::format("{} requests had no answer in time", many);
    case LoadError::bad_answer:
      return fmt::format("{} answers weren't what was asked for", many);
    case LoadError::http_status:
      return fmt::format("{} answers had a status of 400 or above", many);
    case LoadError::local:
      return fmt::format("{} connects failed for want of something on this machine", many);
  }
  return many;
}

/// What to do about a limit of this machine; "" where it is unknown.
std::string cure_of(int code) {
  switch (code) {
    case EADDRNOTAVAIL:
    case EADDRINUSE:
    case EAGAIN:
      return "the local ports to this target are used up, most by closed connections that rest in TIME_WAIT for a "
             "minute; widen "
             "net.ipv4.ip_local_port_range, set net.ipv4.tcp_tw_reuse=1, or give more source addresses with --bind";
    case EMFILE:
      return "the limit of open files (RLIMIT_NOFILE, ulimit -n) was reached";
    case ENFILE:
      return "the whole system's limit of open files (fs.file-max) was reached";
    default:
      return "";
  }
}

std::string duration_words(Duration duration) { return latency_text(duration); }

}  // namespace

std::string headline(const BenchReport& report) {
  const LoadPlan& plan = report.plan;
  std::string pace = "closed loop";
  if (plan.rate > 0) pace = fmt::format("open loop at {} /s", rate_text(plan.rate));
  if (plan.mode == LoadMode::stream)
    pace = plan.direction == Direction::up ? "up" : plan.direction == Direction::down ? "down" : "both ways";
  if (plan.mode == LoadMode::idle) pace = fmt::format("opened at {} /s", rate_text(plan.connect_rate));
  std::string end = duration_text(plan.duration);
  if (plan.requests_max != 0) end = fmt::format("{} requests, {} at most", count_text(plan.requests_max), end);
  const std::string warm =
      plan.warmup > Duration::zero() ? fmt::format(" after {} of warm-up", duration_words(plan.warmup)) : "";
  return fmt::format("{} {}: {} connection{}, {} thread{}, {}, {}{}", mode_word(plan.mode), aim(report),
                     count_text(plan.connections), plan.connections == 1 ? "" : "s", plan.threads,
                     plan.threads == 1 ? "" : "s", pace, end, warm);
}

std::string report_table(const BenchReport& report) {
  const RunReport& counted = report.counted;
  const LoadPlan& plan = report.plan;
  const double over = std::chrono::duration<double>(counted.measured).count();
  const auto rate = [&](std::uint64_t count) { return over > 0 ? static_cast<double>(count) / over : 0.0; };
  std::string text = fmt::format("measured {}\n", duration_words(counted.measured));
  const auto count_row = [&](std::string_view name, std::uint64_t count) {
    text += fmt::format("{:<16}{:>16}{:>16} /s\n", name, count_text(count), rate_text(rate(count)));
  };
  const auto bytes_row = [&](std::string_view name, std::uint64_t count) {
    text +=
        fmt::format("{:<16}{:>16}{:>16} /s\n", name, bytes_text(static_cast<double>(count)), bytes_text(rate(count)));
  };
  if (has_requests(plan.mode)) count_row("requests", counted.counted.requests);
  if (counted.counted.connects > 0) count_row("connects", counted.counted.connects);
  if (counted.counted.bytes_sent > 0) bytes_row("sent", counted.counted.bytes_sent);
  if (counted.counted.bytes_received > 0) bytes_row("received", counted.counted.bytes_received);
  if (plan.mode == LoadMode::idle) {
    text += fmt::format("{:<16}{:>16} of {}\n{:<16}{:>16}\n", "held to the end", count_text(counted.held),
                        count_text(plan.connections), "closed by peer", count_text(counted.closed_by_peer));
  }
  if (plan.mode == LoadMode::http) {
    for (std::size_t i = 1; i < counted.statuses.size(); ++i) {
      if (counted.statuses[i] > 0 && (i != 2 || counted.statuses[i] != counted.total.requests)) {
        text += fmt::format("{:<16}{:>16} (with the warm-up)\n", fmt::format("status {}xx", i),
                            count_text(counted.statuses[i]));
      }
    }
  }
  if (plan.rate > 0) {
    text += fmt::format("{:<16}{:>16} (due while no connection was free)\n", "late", count_text(counted.late_sends));
  }
  if (counted.latency.count() + counted.connect_latency.count() > 0) {
    text += fmt::format("\n{:<16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "", "min", "mean", "p50", "p90", "p99",
                        "p99.9", "max");
    if (counted.latency.count() > 0) text += latency_row(plan.rate > 0 ? "from when due" : "latency", counted.latency);
    if (counted.connect_latency.count() > 0) text += latency_row("connect", counted.connect_latency);
    text += tenths_row(counted);
  }
  return text;
}

std::vector<std::string> complaints(const BenchReport& report) {
  const RunReport& counted = report.counted;
  std::vector<std::string> found;
  if (counted.total.connects == 0 && counted.errors.total() > 0) {
    const int code =
        counted.errors.last_connect_errno != 0 ? counted.errors.last_connect_errno : counted.errors.last_local_errno;
    const std::string why = code != 0 ? system_error("", code).message.substr(2) : "no answer to a connect in time";
    found.push_back(fmt::format("nothing could connect to {}: {} ({} attempts)", aim(report), why,
                                count_text(counted.errors.total())));
    if (const std::string cure = cure_of(counted.errors.last_local_errno); !cure.empty()) found.push_back(cure);
    return found;
  }
  for (std::size_t i = 0; i < load_error_kinds; ++i) {
    const auto kind = static_cast<LoadError>(i);
    if (counted.errors[kind] == 0) continue;
    std::string sentence = error_sentence(kind, counted.errors[kind]);
    if (kind == LoadError::local) {
      sentence += fmt::format(" ({})", errno_name(counted.errors.last_local_errno));
      if (const std::string cure = cure_of(counted.errors.last_local_errno); !cure.empty()) sentence += ": " + cure;
    } else if (kind == LoadError::connect_unreachable) {
      sentence += fmt::format(" ({})", errno_name(counted.errors.last_connect_errno));
    }
    found.push_back(std::move(sentence));
  }
  if (counted.ending == LoadEnding::interrupted)
    found.push_back(fmt::format("interrupted after {}", duration_words(counted.warmup + counted.measured)));
  if (has_requests(report.plan.mode) && counted.total.requests == 0 && counted.errors.total() == 0) {
    found.push_back(
        fmt::format("no request was answered; the oldest has waited {}", duration_words(counted.oldest_unanswered)));
  }
  if (report.plan.mode == LoadMode::idle && counted.held + counted.closed_by_peer < report.plan.connections &&
      found.empty()) {
    found.push_back(fmt::format("the time was over before all were open: {} of {}; raise --connect-rate or --duration",
                                count_text(counted.held), count_text(report.plan.connections)));
  }
  return found;
}

std::vector<std::string> cautions(const BenchReport& report) {
  const RunReport& counted = report.counted;
  std::vector<std::string> found;
  const double busy = busy_share(report);
  const double wait = wait_share(report);
  if (busy > busy_share_max) {
    found.push_back(fmt::format(
        "usher-bench was the bottleneck: its threads were busy for {:.0f} % of the time; give it more --threads",
        busy * 100));
  } else if (busy + wait > busy_share_max) {
    found.push_back(fmt::format(
        "usher-bench was short of CPU: busy for {:.0f} % of the time, and for {:.0f} % waiting for a CPU that others "
        "used; latencies hold that wait too",
        busy * 100, wait * 100));
  }
  if (counted.ending == LoadEnding::requests_done && counted.total.requests < report.plan.requests_max) {
    found.push_back(fmt::format(
        "{} of {} requests were answered: one that fails, or whose connect fails, counts, and isn't tried again",
        count_text(counted.total.requests), count_text(report.plan.requests_max)));
  }
  if (counted.unsent > 0) {
    found.push_back(fmt::format(
        "{} requests were due and not sent when the time was over: the target can't keep that rate, and the "
        "latencies would go on growing",
        count_text(counted.unsent)));
  }
  // One on each connection is under way at any moment; what waits for longer than the slowest answer is news.
  if (counted.unanswered > 0 && counted.oldest_unanswered > counted.latency.max()) {
    found.push_back(
        fmt::format("{} requests had no answer yet when the time was over; the oldest had waited {}, longer than any "
                    "that was counted",
                    count_text(counted.unanswered), duration_words(counted.oldest_unanswered)));
  }
  if (counted.latency.count() > 0 && !counted.latency.settled_percentile(0.999)) {
    found.push_back("'-' stands where fewer than ten requests lie beyond a percentile");
  }
  return found;
}

std::string progress_line(LoadMode mode, const Moment& moment) {
  const double over = std::chrono::duration<double>(moment.since_last).count();
  const auto rate = [&](std::uint64_t count) { return over > 0 ? static_cast<double>(count) / over : 0.0; };
  const auto seconds = [](Duration duration) { return std::chrono::duration<double>(duration).count(); };
  std::string text = fmt::format("{:>4.0f}s of {}{}", seconds(moment.elapsed), duration_text(moment.whole),
                                 moment.elapsed <= moment.warmup ? ", warm-up" : "");
  switch (mode) {
    case LoadMode::stream:
      text += fmt::format("  sent {} /s  received {} /s", bytes_text(rate(moment.counts.bytes_sent)),
                          bytes_text(rate(moment.counts.bytes_received)));
      break;
    case LoadMode::idle:
      break;
    case LoadMode::echo:
    case LoadMode::connect:
    case LoadMode::http:
      text += fmt::format("  {} requests/s", rate_text(rate(moment.counts.requests)));
      if (moment.latency != nullptr) {
        text += fmt::format("  p50 {}  p99 {}", percentile_text(*moment.latency, 0.5),
                            percentile_text(*moment.latency, 0.99));
      }
      break;
  }
  return text + fmt::format("  open {}  errors {}", count_text(moment.open), count_text(moment.errors));
}

}  // namespace usher::bench
