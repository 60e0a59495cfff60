// The keys of [[listener]].
#include <chrono>

#include "config/addresses.h"
#include "config/schema.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t connections_max = 10'000'000;
constexpr std::int64_t backlog_max = 65535;
// what tcp(7) takes for TCP_KEEPIDLE, TCP_KEEPINTVL (MAX_TCP_KEEPIDLE) and TCP_KEEPCNT (MAX_TCP_KEEPCNT), in whole
// seconds
constexpr DurationLimits keepalive_limits{1s, 32767s};
constexpr std::int64_t keepalive_count_max = 127;
constexpr std::int64_t rate_max = 1'000'000'000;
constexpr std::size_t interface_name_bytes_max = 15;  // IFNAMSIZ, netdevice(7), less the end

std::optional<Duration> whole_seconds(const Value& value) {
  const auto duration = value.duration(keepalive_limits);
  if (duration && *duration % 1s != 0s) {
    value.wrong("is not in whole seconds", "the kernel counts keepalive times in seconds");
    return std::nullopt;
  }
  return duration;
}

constexpr Key<KeepaliveConfig> keepalive_keys[] = {
    {"idle", [](const Value& v, KeepaliveConfig& k) { assign(k.idle, whole_seconds(v)); }},
    {"interval", [](const Value& v, KeepaliveConfig& k) { assign(k.interval, whole_seconds(v)); }},
    {"count",
     [](const Value& v, KeepaliveConfig& k) {
       assign(k.count, v.integer({1, keepalive_count_max}));
     }},
};

struct Nothing {};  // what keys of features that aren't built yet are read into

void read_rate(const Value& value, Nothing&) {
  only_default<std::int64_t>(value, value.integer({0, rate_max}), 0, "0");
}

constexpr Key<Nothing> rate_limit_keys[] = {
    {"new_per_second", read_rate}, {"burst", read_rate}, {"concurrent", read_rate}};

void read_bind(const Value& value, ListenerConfig& listener) {
  const auto items = value.texts("a list of addresses, such as [\"0.0.0.0:80\"]");
  for (const Value& item : items) {
    if (const auto endpoint = read_endpoint(item)) listener.bind.push_back(*endpoint);
  }
  if (value.node().kind == Kind::list && value.node().items.empty()) {
    value.wrong("is empty", "write at least one address, such as bind = [\"0.0.0.0:80\"]");
  }
}

void read_accept_proxy_protocol(const Value& value, ListenerConfig& listener) {
  constexpr Word<bool> words[] = {{"off", false}, {"required", true}};
  assign(listener.accept_proxy_protocol, value.word<bool>(words));
}

void read_interfaces(const Value& value, ListenerConfig& listener) {
  if (value.node().kind == Kind::list && value.node().items.empty()) return;
  for (const Value& item : value.texts("a list of interface names, such as [\"eth0\"]")) {
    const auto name = item.text();
    if (!name) continue;
    if (name->empty() || name->size() > interface_name_bytes_max || name->find_first_of("/ \t") != std::string::npos) {
      item.wrong("is no interface name", "`ip link` lists them");
    } else {
      listener.interfaces.push_back(*name);
    }
  }
}

void read_datapath(const Value& value, ListenerConfig& listener) {
  constexpr Word<Datapath> words[] = {{"proxy", Datapath::proxy}, {"kernel", Datapath::kernel}, {"auto", Datapath::automatic}};
  assign(listener.datapath, value.word<Datapath>(words));
}

void read_kernel_mode(const Value& value, ListenerConfig& listener) {
  constexpr Word<Forwarding> words[] = {{"nat", Forwarding::nat}, {"dnat", Forwarding::dnat}, {"dsr", Forwarding::dsr}};
  assign(listener.kernel_mode, value.word<Forwarding>(words));
}

constexpr Key<ListenerConfig> listener_keys[] = {
    {"name", [](const Value& v, ListenerConfig& l) { assign(l.name, v.name()); }, "name = \"web\""},
    {"bind", read_bind, "bind = [\"0.0.0.0:80\"]"},
    {"pool", [](const Value& v, ListenerConfig& l) { assign(l.pool, v.name()); },
     "pool = \"app\", the name of a [[pool]]"},
    {"datapath", read_datapath},
    {"interfaces", read_interfaces},
    {"kernel_mode", read_kernel_mode},
    {"max_connections",
     [](const Value& v, ListenerConfig& l) {
       assign(l.max_connections, v.integer({0, connections_max}));
     }},
    {"accept_proxy_protocol", read_accept_proxy_protocol},
    {"trusted_proxies", [](const Value& v, ListenerConfig& l) { l.trusted_proxies = read_blocks(v); }},
    {"allow", [](const Value& v, ListenerConfig& l) { l.allow = read_blocks(v); }},
    {"deny", [](const Value& v, ListenerConfig& l) { l.deny = read_blocks(v); }},
    {"rate_limit",
     [](const Value& v, ListenerConfig&) {
       Nothing nothing;
       read_keys<Nothing>(v, rate_limit_keys, nothing);
     }},
    {"backlog",
     [](const Value& v, ListenerConfig& l) {
       assign(l.backlog, v.integer({1, backlog_max}));
     }},
    {"tcp_fast_open", [](const Value& v, ListenerConfig& l) { assign(l.tcp_fast_open, v.boolean()); }},
    {"keepalive",
     [](const Value& v, ListenerConfig& l) { read_keys<KeepaliveConfig>(v, keepalive_keys, l.keepalive); }},
    {"route", [](const Value& v, ListenerConfig&) { refuse_table(v); }},
};

}  // namespace

std::vector<Section> listener_sections() {
  return {
      section<ListenerConfig>("listener", "[[listener]]", listener_keys),
      section<Nothing>("listener.rate_limit", "[listener.rate_limit]", rate_limit_keys),
      section<KeepaliveConfig>("listener.keepalive", "[listener.keepalive]", keepalive_keys),
      {"listener.route", "[[listener.route]]", {"server_names", "pool"}},
  };
}

void read_listener(const Value& value, ListenerConfig& into) { read_keys<ListenerConfig>(value, listener_keys, into); }

}  // namespace usher
