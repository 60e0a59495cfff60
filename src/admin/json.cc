// JSON for the admin API, on nlohmann's library, which no header of ours mentions.
#include "admin/json.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace usher {
namespace {

using Json = nlohmann::ordered_json;

// Replaced rather than thrown: one odd byte in a log sentence must not take the whole answer away.
std::string write(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Json time_or_null(const std::optional<WallTime>& at) { return at ? Json(rfc3339(*at)) : Json(nullptr); }

Json histogram(const HistogramTotals& totals) {
  return {{"count", totals.count()}, {"sum", static_cast<double>(totals.sum_ns) * 1e-9}};
}

Json seconds_or_null(const std::optional<Duration>& duration) { return duration ? Json(seconds(*duration)) : Json(nullptr); }

/// null: no eBPF counts.
Json kernel_object(const std::optional<KernelTotals>& kernel) {
  if (!kernel) return nullptr;
  return {{"flows", kernel->flows},
          {"connections", kernel->tried},
          {"established", kernel->established},
          {"refused", kernel->refused},
          {"syn_retransmits", kernel->syn_retransmits},
          {"retransmits", kernel->retransmits},
          {"resets", kernel->resets},
          {"bytes_in", kernel->bytes_in},
          {"bytes_out", kernel->bytes_out},
          {"packets_in", kernel->packets_in},
          {"packets_out", kernel->packets_out},
          {"connect_p50", seconds_or_null(kernel->connect_quantile(0.5))},
          {"connect_p99", seconds_or_null(kernel->connect_quantile(0.99))}};
}

Json listener_object(const ListenerReport& listener) {
  Json closed = Json::object();
  for (std::size_t i = 0; i < outcome_count; ++i) {
    closed[std::string(name(static_cast<Outcome>(i)))] = listener.totals.closed[i];
  }
  return {{"name", listener.name},
          {"bind", listener.bind},
          {"pool", listener.pool},
          {"datapath", listener.datapath},
          {"datapath_reason", listener.datapath_reason},
          {"ready", listener.ready},
          {"accepted", listener.totals.accepted},
          {"active", listener.totals.active},
          {"closed", std::move(closed)},
          {"bytes_in", listener.totals.bytes_in},
          {"bytes_out", listener.totals.bytes_out},
          {"duration", histogram(listener.totals.duration)},
          {"kernel", listener.kernel ? Json{{"accepted", listener.kernel->accepted}, {"active", listener.kernel->active}} : Json(nullptr)}};
}

Json backend_object(const BackendReport& backend) {
  Json failures = Json::object();
  for (std::size_t i = 0; i < connect_failure_count; ++i) {
    failures[std::string(name(static_cast<ConnectFailure>(i)))] = backend.totals.connect_failures[i];
  }
  return {{"pool", backend.pool},
          {"name", backend.name},
          {"address", backend.address},
          {"intent", name(backend.intent)},
          {"health", backend.health},
          {"health_reason", backend.health_reason},
          {"since", time_or_null(backend.since)},
          {"ready", backend.ready},
          {"weight", backend.weight},
          {"tier", backend.tier},
          {"max_connections", backend.max_connections},
          {"active", backend.active},
          {"connect_latency",
           backend.connect_latency == Duration{} ? Json(nullptr) : Json(seconds(backend.connect_latency))},
          {"removed", backend.removed},
          {"connections", backend.totals.connections},
          {"connect_failures", std::move(failures)},
          {"bytes_in", backend.totals.bytes_in},
          {"bytes_out", backend.totals.bytes_out},
          {"checks_passed", backend.totals.checks_passed},
          {"checks_failed", backend.totals.checks_failed},
          {"flips", backend.totals.flips},
          {"kernel", kernel_object(backend.totals.kernel)}};
}

Json connection_object(const ConnectionReport& connection) {
  return {{"worker", connection.worker},      {"listener", connection.listener},  {"pool", connection.pool},
          {"backend", connection.backend},    {"client", connection.client},      {"stage", connection.stage},
          {"age", seconds(connection.age)},   {"idle", seconds(connection.idle)}, {"bytes_in", connection.bytes_in},
          {"bytes_out", connection.bytes_out}};
}

Json event_object(const Event& event) {
  return {{"number", event.number},
          {"at", rfc3339(event.at)},
          {"kind", event.kind},
          {"subject", event.subject},
          {"message", event.message}};
}

template <typename Report, typename Object>
std::string list(const char* key, const std::vector<Report>& reports, Object object) {
  Json all = Json::array();
  for (const Report& report : reports) all.push_back(object(report));
  return write({{key, std::move(all)}});
}

Result<BackendChange> parse_state(const Json& value) {
  if (value.is_string()) {
    const auto& word = value.get_ref<const std::string&>();
    for (const Intent intent : {Intent::enabled, Intent::drain, Intent::disabled}) {
      if (word == name(intent)) return intent;
    }
  }
  return fail(
      fmt::format("\"state\" is {}; expected \"drain\", \"enabled\" or \"disabled\"", value.dump(-1, ' ', true)));
}

Result<BackendChange> parse_weight(const Json& value) {
  constexpr std::uint64_t weight_max = std::numeric_limits<std::uint32_t>::max();
  if (value.is_number_unsigned() && value.get<std::uint64_t>() <= weight_max) return value.get<std::uint32_t>();
  return fail(fmt::format("\"weight\" is {}; expected an integer from 0", value.dump(-1, ' ', true)));
}

}  // namespace

std::string rfc3339(WallTime at) {
  const auto second = std::chrono::floor<std::chrono::seconds>(at);
  const auto milliseconds = std::chrono::floor<std::chrono::milliseconds>(at - second).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(second)),
                     milliseconds);
}

std::string to_json(const StatusReport& status) {
  return write({{"version", status.version},
                {"pid", status.pid},
                {"phase", name(status.phase)},
                {"started", rfc3339(status.started)},
                {"uptime", seconds(status.uptime)},
                {"config_file", status.config_file},
                {"reloaded", time_or_null(status.reloaded)},
                {"last_reload_error", status.last_reload_error},
                {"workers", status.workers},
                {"connections_active", status.connections_active},
                {"connections_accepted", status.connections_accepted},
                {"connections_max", status.connections_max},
                {"descriptors_open", status.descriptors_open},
                {"descriptors_max", status.descriptors_max},
                {"steering", status.steering},
                {"kernel_counters", status.kernel_counters},
                {"listeners", status.listeners},
                {"pools", status.pools},
                {"backends", status.backends},
                {"backends_ready", status.backends_ready}});
}

std::string to_json(const std::vector<ListenerReport>& listeners) {
  return list("listeners", listeners, listener_object);
}
std::string to_json(const std::vector<BackendReport>& backends) { return list("backends", backends, backend_object); }
std::string to_json(const BackendReport& backend) { return write(backend_object(backend)); }
std::string to_json(const std::vector<ConnectionReport>& connections) {
  return list("connections", connections, connection_object);
}
std::string to_json(const std::vector<Event>& events) { return list("events", events, event_object); }

std::string to_json(const ReloadReport& reload) {
  Json answer = Json::object();
  if (!reload.applied) {
    answer["error"] = fmt::format("the configuration was refused, nothing has changed: {}",
                                  reload.problems.empty() ? "no reason given" : reload.problems.front());
  }
  answer["applied"] = reload.applied;
  answer["changes"] = reload.changes;
  answer["problems"] = reload.problems;
  return write(answer);
}

std::string config_json(std::string_view file, std::string_view text) {
  return write({{"file", file}, {"text", text}});
}
std::string error_json(std::string_view sentence) { return write({{"error", sentence}}); }

Result<BackendChange> parse_backend_change(std::string_view body) try {
  const Json change = Json::parse(body);
  if (!change.is_object() || change.size() != 1) {
    return fail(R"(expected an object with one member: {"state": "drain"|"enabled"|"disabled"} or {"weight": N})");
  }
  const auto member = change.begin();
  if (member.key() == "state") return parse_state(member.value());
  if (member.key() == "weight") return parse_weight(member.value());
  return fail(
      fmt::format("unknown member {}; expected \"state\" or \"weight\"", Json(member.key()).dump(-1, ' ', true)));
} catch (const Json::exception& bad) {
  // "[json.exception.parse_error.101] parse error at line 1, column 5: ...": the bracket is the library's own business.
  const std::string_view what = bad.what();
  const std::size_t bracket = what.find("] ");
  return fail(fmt::format("bad JSON: {}", bracket == std::string_view::npos ? what : what.substr(bracket + 2)));
}

}  // namespace usher
