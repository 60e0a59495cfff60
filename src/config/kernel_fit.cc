// What a listener and its pool ask for that the kernel datapath can't do.
#include <algorithm>

#include <fmt/format.h>

#include "usher/config/config.h"

namespace usher {
namespace {

bool picked_in_kernel(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::two_choices:
    case Algorithm::maglev: return true;
    case Algorithm::round_robin:
    case Algorithm::random:
    case Algorithm::least_connections:
    case Algorithm::least_latency:
    case Algorithm::source_hash: return false;
  }
  return false;
}

std::optional<std::string> why_not_listener(const ListenerConfig& listener) {
  if (listener.accept_proxy_protocol) return "accept_proxy_protocol needs the proxy";
  if (!listener.allow.empty() || !listener.deny.empty()) return "allow and deny need the proxy";
  if (listener.max_connections != 0) return "the listener's max_connections needs the proxy";
  if (listener.tcp_fast_open) return "tcp_fast_open needs the proxy";
  return std::nullopt;
}

std::optional<std::string> why_not_pool(const PoolConfig& pool) {
  if (!picked_in_kernel(pool.picker.algorithm)) return "the pool's algorithm needs the proxy; two_choices and maglev don't";
  if (pool.send_proxy_protocol != ProxyProtocol::off) return "send_proxy_protocol needs the proxy";
  if (pool.bind_source) return "bind_source needs the proxy";
  if (pool.max_lifetime != Duration::zero()) return "max_lifetime needs the proxy";
  if (pool.picker.panic_threshold > 0) return "panic_threshold needs the proxy";
  const auto limited = std::ranges::find_if(pool.backends, [](const BackendConfig& one) { return one.max_connections != 0; });
  if (limited != pool.backends.end()) return fmt::format("max_connections of backend {} needs the proxy", limited->name);
  return std::nullopt;
}

/// Whether packets for `address` can be sent on to `backend` as they are, or with other addresses of the same kind.
bool fits(Forwarding mode, const Endpoint& address, const Endpoint& backend) {
  return mode == Forwarding::dsr || address.family() == backend.family();
}

}  // namespace

std::optional<std::string> why_not_kernel(const ListenerConfig& listener, const PoolConfig& pool) {
  if (auto why = why_not_listener(listener)) return why;
  if (auto why = why_not_pool(pool)) return why;
  for (const BackendConfig& backend : pool.backends) {
    if (std::ranges::none_of(listener.bind, [&](const Endpoint& address) { return fits(listener.kernel_mode, address, backend.address); })) {
      return fmt::format("backend {} and every address of the listener are of different families", backend.name);
    }
    if (listener.kernel_mode != Forwarding::dsr) continue;
    const auto other = std::ranges::find_if(listener.bind, [&](const Endpoint& address) { return address.port() != backend.address.port(); });
    if (other != listener.bind.end()) {
      return fmt::format("kernel_mode = \"dsr\" leaves the port as it is, and backend {} has {} where the listener has {}", backend.name,
                         backend.address.port(), other->port());
    }
  }
  return std::nullopt;
}

}  // namespace usher
