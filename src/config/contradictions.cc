// Contradictions: a setting that another one makes void, or turns around.
#include "config/contradictions.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/words.h"
#include "usher/config/units.h"

namespace usher {
namespace {

void warn_no_effect(const Node& table, std::string_view path, std::string_view key, std::string_view because,
                    Report& report) {
  report.warning(where(table, key), fmt::format("{}.{} has no effect", path, key), std::string(because));
}

void warn_check_times(const Node& table, const HealthOptions& health, Report& report) {
  const auto interval = duration_text(health.interval);
  // where the key itself isn't written, the interval that is too short for its default is to blame
  const auto blame = [&](std::string_view key) { return where(table, table.find(key) == nullptr ? "interval" : key); };
  if (health.fast_interval > health.interval) {
    report.warning(blame("fast_interval"),
                   fmt::format("pool.health.fast_interval = \"{}\" is longer than interval = \"{}\"",
                               duration_text(health.fast_interval), interval),
                   fmt::format("it is for checking faster; write \"{}\" or less", interval));
  }
  if (health.timeout > health.interval) {
    report.warning(blame("timeout"),
                   fmt::format("pool.health.timeout = \"{}\" is longer than interval = \"{}\"",
                               duration_text(health.timeout), interval),
                   fmt::format("a check that hangs delays the next; write \"{}\" or less", interval));
  }
}

void warn_health(const Node& table, const HealthOptions& health, Report& report) {
  if (health.type != CheckType::none) warn_check_times(table, health, report);
  if (health.type == CheckType::http) return;
  const HealthOptions usual;
  const auto warn = [&](std::string_view key) {
    warn_no_effect(table, "pool.health", key, "it is for type = \"http\"", report);
  };
  if (health.method != usual.method) warn("method");
  if (health.path != usual.path) warn("path");
  if (health.host != usual.host) warn("host");
  if (health.expect_status != usual.expect_status) warn("expect_status");
  if (health.expect_body != usual.expect_body) warn("expect_body");
}

void warn_bind_source(const Node& table, const PoolConfig& pool, Report& report) {
  if (!pool.bind_source) return;
  const auto differs = [&](const BackendConfig& backend) {
    return backend.address.set() && backend.address.family() != pool.bind_source->family();
  };
  const auto backend = std::ranges::find_if(pool.backends, differs);
  if (backend == pool.backends.end()) return;
  report.warning(where(table, "bind_source"),
                 fmt::format("pool.bind_source = \"{}\" can't reach backend {}", pool.bind_source->ip_text(),
                             quoted(backend->name)),
                 "one is IPv4, the other IPv6");
}

bool hashes(Algorithm algorithm) { return algorithm == Algorithm::source_hash || algorithm == Algorithm::maglev; }

}  // namespace

void warn_contradictions(const Node& table, const AdminConfig& admin, Report& report) {
  if (!admin.token.empty() && admin.http.empty()) {
    warn_no_effect(table, "admin", "token", "it is for changes over http, and http is off", report);
  }
}

void warn_contradictions(const Node& table, const ListenerConfig& listener, const GlobalConfig& global,
                         Report& report) {
  if (!listener.trusted_proxies.empty() && !listener.accept_proxy_protocol) {
    warn_no_effect(table, "listener", "trusted_proxies", "write accept_proxy_protocol = \"required\" as well", report);
  }
  for (const Cidr& block : listener.allow) {
    if (std::ranges::find(listener.deny, block) == listener.deny.end()) continue;
    report.warning(where(table, "allow"), fmt::format("listener.allow has {}, which deny has as well", block.text()),
                   "deny wins: take it out of one");
  }
  if (listener.datapath == Datapath::proxy) {
    const ListenerConfig usual;
    const auto because = "it is for datapath = \"kernel\" and \"auto\"";
    if (!listener.interfaces.empty()) warn_no_effect(table, "listener", "interfaces", because, report);
    if (listener.kernel_mode != usual.kernel_mode) warn_no_effect(table, "listener", "kernel_mode", because, report);
  }
  if (listener.max_connections > global.max_connections) {
    report.warning(where(table, "max_connections"),
                   fmt::format("listener.max_connections = {} is never reached", listener.max_connections),
                   fmt::format("global.max_connections = {} comes first", global.max_connections));
  }
}

void refuse_contradictions(const Node& table, const ListenerConfig& listener, const PoolConfig& pool, Report& report) {
  if (listener.datapath == Datapath::proxy && pool.on_down == OnDown::move) {
    report.warning(where(table, "pool"),
                   fmt::format("pool.on_down = \"move\" has no effect for listener {}", quoted(listener.name)),
                   "what the proxy connects can't move: write datapath = \"kernel\" or \"auto\", or on_down = \"reset\"");
  }
  if (listener.datapath != Datapath::kernel) return;
  if (const auto why = why_not_kernel(listener, pool)) {
    report.error(where(table, "datapath"), fmt::format("listener.datapath = \"kernel\": {}", *why),
                 "change that, or write datapath = \"auto\", which takes the proxy then");
  }
}

void warn_contradictions(const Node& table, const PoolConfig& pool, Report& report) {
  const PickerOptions usual;
  if (pool.picker.hash_key != usual.hash_key && !hashes(pool.picker.algorithm)) {
    warn_no_effect(table, "pool", "hash_key", "it is for algorithm = \"source_hash\" and \"maglev\"", report);
  }
  if (pool.picker.maglev_table_size != usual.maglev_table_size && pool.picker.algorithm != Algorithm::maglev) {
    warn_no_effect(table, "pool", "maglev_table_size", "it is for algorithm = \"maglev\"", report);
  }
  warn_bind_source(table, pool, report);
  if (const Node* health = table.find("health")) warn_health(*health, pool.health, report);
}

}  // namespace usher
