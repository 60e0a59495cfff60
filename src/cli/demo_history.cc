// DemoHistory: what the demo has seen so far, summed into frames and one closing object.
#include "cli/demo_history.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace usher::cli {
namespace {

double seconds_of(Duration duration) { return std::chrono::duration<double>(duration).count(); }

double rate(std::uint64_t before, std::uint64_t now, double seconds) {
  return seconds > 0 && now > before ? static_cast<double>(now - before) / seconds : 0;
}

std::uint64_t connections_of(const DemoMoment& moment, const std::string& name) {
  const auto found = std::ranges::find(moment.backends, name, &BackendReport::name);
  return found == moment.backends.end() ? 0 : found->totals.connections;
}

double rounded_ms(Duration took) { return std::round(seconds_of(took) * 1e6) / 1e3; }

}  // namespace

std::string wall_clock_text(WallTime at) {
  const time_t seconds = std::chrono::system_clock::to_time_t(at);
  tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

void DemoHistory::add(DemoMoment moment) {
  moments_.push_back(std::move(moment));
  while (moments_.size() > 2 && (moments_.size() > moments_max || moments_.back().at - moments_[1].at >= window))
    moments_.pop_front();
}

void DemoHistory::add_event(std::string text) {
  events_.push_back(std::move(text));
  if (events_.size() > events_max) events_.pop_front();
}

std::vector<std::string> DemoHistory::add_events(const std::vector<Event>& events) {
  std::vector<std::string> lines;
  for (const Event& event : events) {
    if (event.number <= last_event_) continue;
    last_event_ = event.number;
    lines.push_back(fmt::format("{}  {:<7}  {}{}{}", wall_clock_text(event.at), event.kind, event.subject,
                                event.subject.empty() ? "" : " ", event.message));
    add_event(lines.back());
  }
  return lines;
}

ViewFrame DemoHistory::frame() const {
  ViewFrame frame;
  frame.events.assign(events_.begin(), events_.end());
  if (moments_.empty()) return frame;
  const DemoMoment& first = moments_.front();
  const DemoMoment& last = moments_.back();
  const double seconds = seconds_of(last.at - first.at);
  frame.steering = last.status.steering;
  frame.running = last.at - started_;
  frame.connections_per_second = rate(first.status.connections_accepted, last.status.connections_accepted, seconds);
  frame.active = last.status.connections_active;
  frame.accepted = last.status.connections_accepted;
  frame.requests = last.load.requests;
  frame.errors = last.load.errors;
  frame.reconnects = last.load.reconnects;
  const load::CoarseHistogram recent = last.load.latency.since(first.load.latency);
  frame.p50 = recent.percentile(0.50);
  frame.p99 = recent.percentile(0.99);
  for (const BackendReport& backend : last.backends) {
    frame.backends.push_back(
        {.name = backend.name,
         .health = backend.health,
         .remark = "",
         .active = backend.active,
         .connections = backend.totals.connections,
         .per_second = rate(connections_of(first, backend.name), backend.totals.connections, seconds),
         .flips = backend.totals.flips});
  }
  return frame;
}

std::uint64_t DemoHistory::flips() const {
  std::uint64_t flips = 0;
  if (moments_.empty()) return flips;
  for (const BackendReport& backend : moments_.back().backends) flips += backend.totals.flips;
  return flips;
}

std::string DemoHistory::summary_json() const {
  const DemoMoment last =
      moments_.empty() ? DemoMoment{.at = started_, .status = {}, .backends = {}, .load = {}} : moments_.back();
  nlohmann::ordered_json backends = nlohmann::ordered_json::object();
  for (const BackendReport& backend : last.backends) backends[backend.name] = 0;
  for (const auto& [name, answers] : last.load.by_backend) backends[name] = answers;
  const nlohmann::ordered_json summary = {{"seconds", std::round(seconds_of(last.at - started_) * 1e3) / 1e3},
                                          {"requests", last.load.requests},
                                          {"errors", last.load.errors},
                                          {"reconnects", last.load.reconnects},
                                          {"backends", std::move(backends)},
                                          {"flips", flips()},
                                          {"p50_ms", rounded_ms(last.load.latency.percentile(0.50))},
                                          {"p99_ms", rounded_ms(last.load.latency.percentile(0.99))},
                                          {"connections_accepted", last.status.connections_accepted}};
  return summary.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string DemoHistory::summary_text() const {
  if (moments_.empty()) return "usher demo: ended before it began\n";
  const LoadReport& load = moments_.back().load;
  std::string spread;
  for (const auto& [name, answers] : load.by_backend) spread += fmt::format(" {} {}", name, answers);
  const std::string last_error = load.last_error.empty() ? "" : fmt::format(" (the last: {})", load.last_error);
  const std::uint64_t all_flips = flips();
  return fmt::format(
      "usher demo: {} requests in {:.1f} s, {} errors{}, {} flip{}; answers:{}; p50 {:.1f} ms, p99 {:.1f} ms\n",
      load.requests, seconds_of(moments_.back().at - started_), load.errors, last_error, all_flips,
      all_flips == 1 ? "" : "s", spread, rounded_ms(load.latency.percentile(0.50)),
      rounded_ms(load.latency.percentile(0.99)));
}

}  // namespace usher::cli
