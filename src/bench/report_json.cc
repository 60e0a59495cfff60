// BenchReport as JSON: times in seconds, counts as integers, null where a mode has no such thing.
#include "bench/report_json.h"

#include <nlohmann/json.hpp>

#include "bench/tenths.h"

namespace usher::bench {
namespace {

using Json = nlohmann::ordered_json;
using namespace load;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Json number_or_null(double value) { return value > 0 ? Json(value) : Json(nullptr); }

Json counts_json(const LoadCounts& counts) {
  return {{"requests", counts.requests},
          {"connects", counts.connects},
          {"bytes_sent", counts.bytes_sent},
          {"bytes_received", counts.bytes_received}};
}

Json rates_json(const LoadCounts& counts, double over) {
  const auto rate = [&](std::uint64_t count) { return over > 0 ? static_cast<double>(count) / over : 0.0; };
  return {{"requests", rate(counts.requests)},
          {"connects", rate(counts.connects)},
          {"bytes_sent", rate(counts.bytes_sent)},
          {"bytes_received", rate(counts.bytes_received)}};
}

/// Percentiles that rest on too few are null.
Json latency_json(const Histogram& latency, bool corrected) {
  if (latency.count() == 0) return nullptr;
  const auto share = [&](double wanted) {
    const auto found = latency.settled_percentile(wanted);
    return found ? Json(seconds(*found)) : Json(nullptr);
  };
  return {{"count", latency.count()},
          {"min", seconds(latency.min())},
          {"mean", seconds(latency.mean())},
          {"p50", share(0.5)},
          {"p90", share(0.9)},
          {"p99", share(0.99)},
          {"p999", share(0.999)},
          {"max", seconds(latency.max())},
          {"corrected", corrected}};
}

Json errors_json(const LoadErrors& errors) {
  Json object = Json::object();
  for (std::size_t i = 0; i < load_error_kinds; ++i)
    object[std::string(error_word(static_cast<LoadError>(i)))] = errors.of[i];
  object["total"] = errors.total();
  return object;
}

/// The rate in each tenth of the time: requests, or bytes where the mode has none.
Json slices_json(const BenchReport& report) {
  const double slice = seconds(report.plan.duration) / static_cast<double>(load_slices);
  Json list = Json::array();
  for (std::size_t i = 0; i < report.counted.slices_whole; ++i)
    list.push_back(static_cast<double>(report.counted.slices[i]) / slice);
  return list;
}

/// The 99th percentile in each tenth of the time.
Json slices_p99_json(const BenchReport& report) {
  if (!has_requests(report.plan.mode)) return nullptr;
  Json list = Json::array();
  for (const auto& p99 : p99_by_tenths(report.counted)) list.push_back(p99 ? Json(*p99) : Json(nullptr));
  return list;
}

Json statuses_json(const RunReport& counted) {
  Json object = Json::object();
  for (std::size_t i = 1; i < counted.statuses.size(); ++i) object[std::to_string(i) + "xx"] = counted.statuses[i];
  return object;
}

}  // namespace

std::string_view aim(const BenchReport& report) { return report.url.empty() ? report.target : report.url; }

double busy_share(const BenchReport& report) {
  const double all = seconds(report.counted.measured) * report.plan.threads;
  return all > 0 ? (report.counted.cpu_user_seconds + report.counted.cpu_system_seconds) / all : 0;
}

double wait_share(const BenchReport& report) {
  const double all = seconds(report.counted.measured) * report.plan.threads;
  return all > 0 ? report.counted.cpu_wait_seconds / all : 0;
}

bool has_requests(LoadMode mode) { return mode != LoadMode::stream && mode != LoadMode::idle; }

std::string_view mode_word(LoadMode mode) {
  switch (mode) {
    case LoadMode::stream:
      return "stream";
    case LoadMode::echo:
      return "echo";
    case LoadMode::connect:
      return "connect";
    case LoadMode::idle:
      return "idle";
    case LoadMode::http:
      return "http";
  }
  return "";
}

std::string_view error_word(LoadError kind) {
  switch (kind) {
    case LoadError::connect_refused:
      return "connect_refused";
    case LoadError::connect_timeout:
      return "connect_timeout";
    case LoadError::connect_unreachable:
      return "connect_unreachable";
    case LoadError::reset:
      return "reset";
    case LoadError::closed_early:
      return "closed_early";
    case LoadError::timeout:
      return "timeout";
    case LoadError::bad_answer:
      return "bad_answer";
    case LoadError::http_status:
      return "http_status";
    case LoadError::local:
      return "local";
  }
  return "";
}

std::string report_json(const BenchReport& report) {
  const RunReport& counted = report.counted;
  const LoadPlan& plan = report.plan;
  const double over = seconds(counted.measured);
  Json histogram = Json::array();
  for (const auto& [value, count] : counted.latency.filled()) histogram.push_back({seconds(value), count});
  Json object = {
      {"tool", "usher-bench"},
      {"version", USHER_VERSION},
      {"mode", mode_word(plan.mode)},
      {"target", report.target},
      {"url", report.url.empty() ? Json(nullptr) : Json(report.url)},
      {"connections", plan.connections},
      {"threads", plan.threads},
      {"rate", number_or_null(plan.rate)},
      {"seed", plan.seed},
      {"started_at", report.started_at},
      {"interrupted", counted.ending == LoadEnding::interrupted},
      {"warmup_seconds", seconds(counted.warmup)},
      {"duration_seconds", over},
      {"total", counts_json(counted.total)},
      {"measured", counts_json(counted.counted)},
      {"per_second", rates_json(counted.counted, over)},
      {"slices_per_second", slices_json(report)},
      {"slices_p99", slices_p99_json(report)},
      {"errors", errors_json(counted.errors)},
      {"latency", latency_json(counted.latency, plan.rate > 0)},
      {"connect_latency", latency_json(counted.connect_latency, false)},
      {"late_sends", counted.late_sends},
      {"unsent", counted.unsent},
      {"unanswered", counted.unanswered},
      {"oldest_unanswered_seconds", seconds(counted.oldest_unanswered)},
      {"http_statuses", plan.mode == LoadMode::http ? statuses_json(counted) : Json(nullptr)},
      {"idle", plan.mode == LoadMode::idle ? Json{{"held", counted.held}, {"closed_by_peer", counted.closed_by_peer}}
                                           : Json(nullptr)},
      {"cpu_seconds", {{"user", counted.cpu_user_seconds}, {"system", counted.cpu_system_seconds}}},
      {"busy_share", busy_share(report)},
      {"wait_share", wait_share(report)},
      {"histogram", std::move(histogram)},
  };
  return object.dump() + "\n";
}

}  // namespace usher::bench
