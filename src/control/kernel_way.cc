// Kernel way: the questions in the order in which the kernel datapath asks them.
#include "control/kernel_way.h"

#include <algorithm>

#include <fmt/format.h>

namespace usher {

bool fits_kernel(const Interface& one) { return one.up && one.ethernet && !one.loopback; }

Result<std::vector<std::uint32_t>> kernel_interfaces(const ListenerConfig& listener, const std::vector<Interface>& interfaces) {
  std::vector<std::uint32_t> indices;
  for (const std::string& name : listener.interfaces) {
    const auto found = std::ranges::find(interfaces, name, &Interface::name);
    if (found == interfaces.end()) return fail(fmt::format("there is no interface {}", name));
    if (!found->ethernet || found->loopback) return fail(fmt::format("packets on {} have no Ethernet header", name));
    indices.push_back(found->index);
  }
  if (!listener.interfaces.empty()) return indices;
  for (const Interface& one : interfaces) {
    if (fits_kernel(one)) indices.push_back(one.index);
  }
  if (indices.empty()) return fail("this host has only its loopback interface, or none that is up and speaks Ethernet");
  return indices;
}

std::optional<std::string> why_no_ports(const ListenerConfig& listener, const std::vector<PortRange>& ports) {
  if (listener.kernel_mode != Forwarding::nat || !ports.empty()) return std::nullopt;
  return "no source ports are left for it: net.ipv4.ip_local_port_range takes all; set some apart by net.ipv4.ip_local_reserved_ports";
}

std::optional<std::string> why_not_here(const ListenerConfig& listener, const PoolConfig& pool, const std::vector<Interface>& interfaces,
                                        const std::vector<PortRange>& ports) {
  if (auto why = why_not_kernel(listener, pool)) return why;
  if (auto why = why_no_ports(listener, ports)) return why;
  if (const auto indices = kernel_interfaces(listener, interfaces); !indices) return indices.error().message;
  for (const BackendConfig& backend : pool.backends) {
    const auto route = find_route(backend.address);
    if (route && route->local) return fmt::format("backend {} is on this machine", backend.name);
  }
  return std::nullopt;
}

}  // namespace usher
