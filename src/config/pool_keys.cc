// The keys of [[pool]] and of its tables, but [pool.health].
#include <chrono>
#include <limits>

#include "config/addresses.h"
#include "config/schema.h"
#include "usher/policy/backend.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t connections_max = 10'000'000;
constexpr std::int64_t connect_attempts_max = 16;
constexpr std::int64_t tier_max = 255;
constexpr std::int64_t count_max = 1'000'000;
constexpr DurationLimits connect_limits{1ms, 10min};
constexpr DurationLimits timeout_limits{1ms, 8760h};
constexpr DurationLimits optional_limits{0s, 8760h};

struct Nothing {};  // what keys of features that aren't built yet are read into

void read_nothing(const Value& value, std::span<const Key<Nothing>> keys) {
  Nothing nothing;
  read_keys<Nothing>(value, keys, nothing);
}

constexpr Key<Nothing> rebalance_keys[] = {
    {"skew",
     [](const Value& v, Nothing&) {
       only_default(v, v.real({0, 1000}), 0.0, "0.0");
     }},
    {"per_second",
     [](const Value& v, Nothing&) {
       only_default<std::int64_t>(v, v.integer({1, count_max}), 1, "1");
     }},
};
constexpr Key<Nothing> queue_keys[] = {
    {"max",
     [](const Value& v, Nothing&) {
       only_default<std::int64_t>(v, v.integer({0, count_max}), 0, "0");
     }},
    {"timeout", [](const Value& v, Nothing&) { only_default<Duration>(v, v.duration(timeout_limits), 5s, "\"5s\""); }},
};
constexpr Key<Nothing> outlier_keys[] = {
    {"consecutive_failures",
     [](const Value& v, Nothing&) {
       only_default<std::int64_t>(v, v.integer({0, count_max}), 0, "0");
     }},
    {"ejection_time",
     [](const Value& v, Nothing&) { only_default<Duration>(v, v.duration(timeout_limits), 30s, "\"30s\""); }},
    {"max_ejected",
     [](const Value& v, Nothing&) {
       only_default(v, v.real({0, 1}), 0.5, "0.5");
     }},
};

void read_address(const Value& value, BackendConfig& backend) {
  const auto endpoint = read_endpoint(value);
  if (!endpoint) return;
  if (endpoint->port() == 0) {
    value.wrong("has no port to connect to", "write a port from 1 to 65535");
    return;
  }
  backend.address = *endpoint;
}

constexpr Key<BackendConfig> backend_keys[] = {
    {"name", [](const Value& v, BackendConfig& b) { assign(b.name, v.name()); }},
    {"address", read_address, "address = \"IP:PORT\""},
    {"weight",
     [](const Value& v, BackendConfig& b) {
       assign(b.weight, v.integer({0, backend_weight_max}));
     }},
    {"max_connections",
     [](const Value& v, BackendConfig& b) {
       assign(b.max_connections, v.integer({0, connections_max}));
     }},
    {"tier",
     [](const Value& v, BackendConfig& b) {
       assign(b.tier, v.integer({0, tier_max}));
     }},
};

void read_backend(const Value& value, BackendConfig& backend) {
  read_keys<BackendConfig>(value, backend_keys, backend);
  const bool unnamed = value.node().find("name") == nullptr;
  if (unnamed && backend.address.set()) backend.name = backend.address.text();
}

void read_algorithm(const Value& value, PoolConfig& pool) {
  constexpr Word<Algorithm> words[] = {{"round_robin", Algorithm::round_robin},
                                       {"random", Algorithm::random},
                                       {"two_choices", Algorithm::two_choices},
                                       {"least_connections", Algorithm::least_connections},
                                       {"least_latency", Algorithm::least_latency},
                                       {"source_hash", Algorithm::source_hash},
                                       {"maglev", Algorithm::maglev}};
  assign(pool.picker.algorithm, value.word<Algorithm>(words));
}

void read_hash_key(const Value& value, PoolConfig& pool) {
  constexpr Word<HashKey> words[] = {
      {"source", HashKey::source}, {"source_port", HashKey::source_port}, {"server_name", std::nullopt}};
  assign(pool.picker.hash_key, value.word<HashKey>(words));
}

void read_hash_balance(const Value& value, PoolConfig&) {
  const auto balance = value.real({0, 1000});
  if (balance && *balance > 0 && *balance < 1) {
    value.wrong("is out of range", "allowed: 0 (off), or 1 and above; 1.25 is usual");
    return;
  }
  only_default(value, balance, 0.0, "0.0");
}

void read_table_size(const Value& value, PoolConfig& pool) {
  const auto size = value.integer({std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()});
  if (!size) return;
  if (*size != 65537 && *size != 655373) {
    value.wrong("is not a table size", "allowed: 65537, 655373 (primes, as the paper asks)");
    return;
  }
  pool.picker.maglev_table_size = static_cast<std::uint32_t>(*size);
}

void read_send_proxy_protocol(const Value& value, PoolConfig& pool) {
  constexpr Word<ProxyProtocol> words[] = {
      {"off", ProxyProtocol::off}, {"v1", ProxyProtocol::v1}, {"v2", ProxyProtocol::v2}};
  assign(pool.send_proxy_protocol, value.word<ProxyProtocol>(words));
}

void read_bind_source(const Value& value, PoolConfig& pool) {
  if (value.node().kind == Kind::text && value.node().text.empty()) return;
  if (value.node().kind == Kind::text && value.node().text == "client") {
    value.not_yet("\"\"");
  } else if (const auto ip = read_ip(value)) {
    pool.bind_source = *ip;
  }
}

void read_single_writer(const Value& value, PoolConfig&) { only_default(value, value.boolean(), false, "false"); }

void read_on_down(const Value& value, PoolConfig& pool) {
  constexpr Word<OnDown> words[] = {{"keep", OnDown::keep}, {"reset", OnDown::reset}, {"move", OnDown::move}};
  assign(pool.on_down, value.word<OnDown>(words));
}

void read_initial(const Value& value, PoolConfig& pool) {
  constexpr Word<bool> words[] = {{"checking", false}, {"up", true}};
  assign(pool.initially_up, value.word<bool>(words));
}

constexpr Key<PoolConfig> pool_keys[] = {
    {"name", [](const Value& v, PoolConfig& p) { assign(p.name, v.name()); }, "name = \"app\""},
    {"algorithm", read_algorithm},
    {"hash_key", read_hash_key},
    {"hash_balance", read_hash_balance},
    {"maglev_table_size", read_table_size},
    {"send_proxy_protocol", read_send_proxy_protocol},
    {"bind_source", read_bind_source},
    {"connect_timeout", [](const Value& v, PoolConfig& p) { assign(p.connect_timeout, v.duration(connect_limits)); }},
    {"connect_attempts",
     [](const Value& v, PoolConfig& p) {
       assign(p.connect_attempts, v.integer({1, connect_attempts_max}));
     }},
    {"idle_timeout", [](const Value& v, PoolConfig& p) { assign(p.idle_timeout, v.duration(timeout_limits)); }},
    {"half_close_timeout",
     [](const Value& v, PoolConfig& p) { assign(p.half_close_timeout, v.duration(timeout_limits)); }},
    {"max_lifetime", [](const Value& v, PoolConfig& p) { assign(p.max_lifetime, v.duration(optional_limits)); }},
    {"rebalance", [](const Value& v, PoolConfig&) { read_nothing(v, rebalance_keys); }},
    {"queue", [](const Value& v, PoolConfig&) { read_nothing(v, queue_keys); }},
    {"slow_start",
     [](const Value& v, PoolConfig&) { only_default<Duration>(v, v.duration(optional_limits), 0s, "\"0s\""); }},
    {"panic_threshold",
     [](const Value& v, PoolConfig& p) {
       assign(p.picker.panic_threshold, v.real({0, 1}));
     }},
    {"on_down", read_on_down},
    {"single_writer", read_single_writer},
    {"initial", read_initial},
    {"health", [](const Value& v, PoolConfig& p) { read_health(v, p.health); }},
    {"outlier", [](const Value& v, PoolConfig&) { read_nothing(v, outlier_keys); }},
    {"backend", [](const Value& v, PoolConfig& p) { read_each(v, read_backend, p.backends); }},
    {"discovery", [](const Value& v, PoolConfig&) { refuse_table(v); }},
    {"autoscale", [](const Value& v, PoolConfig&) { refuse_table(v); }},
};

}  // namespace

std::vector<Section> pool_sections() {
  return {
      section<PoolConfig>("pool", "[[pool]]", pool_keys),
      section<Nothing>("pool.rebalance", "[pool.rebalance]", rebalance_keys),
      section<Nothing>("pool.queue", "[pool.queue]", queue_keys),
      section<Nothing>("pool.outlier", "[pool.outlier]", outlier_keys),
      section<BackendConfig>("pool.backend", "[[pool.backend]]", backend_keys),
      {"pool.discovery", "[pool.discovery]", {"type", "name", "interval"}},
      {"pool.autoscale",
       "[pool.autoscale]",
       {"min", "max", "target_connections", "window", "cooldown", "provider", "command", "ports"}},
  };
}

void read_pool(const Value& value, PoolConfig& into) { read_keys<PoolConfig>(value, pool_keys, into); }

}  // namespace usher
