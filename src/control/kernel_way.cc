// Kernel way: the questions in the order in which the kernel datapath asks them.
#include "control/kernel_way.h"

#include <algorithm>
#include <cerrno>
#include <utility>

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

std::optional<Obstacle> why_not_by_file(const ListenerConfig& listener, const PoolConfig& pool) {
  auto why = why_not_kernel(listener, pool);
  if (!why) return std::nullopt;
  return Obstacle{std::move(*why), "do without, or say datapath = \"proxy\""};
}

std::optional<Obstacle> why_no_ports(const ListenerConfig& listener, const std::vector<PortRange>& ports) {
  if (listener.kernel_mode != Forwarding::nat || !ports.empty()) return std::nullopt;
  return Obstacle{"no source ports are left for it: net.ipv4.ip_local_port_range takes all", "sysctl net.ipv4.ip_local_reserved_ports=40000-60999"};
}

Obstacle why_no_network(const Error& refused) {
  const bool forbidden = refused.code == EAFNOSUPPORT || refused.code == EPERM || refused.code == EACCES;
  return {refused.message, forbidden ? "let it use AF_NETLINK: under systemd the drop-in usher.service.d/kernel.conf does, which is installed among the "
                                       "examples (share/doc/usher/examples)"
                                     : "the kernel must answer rtnetlink(7)"};
}

Obstacle why_not_local(const BackendConfig& backend) {
  return {fmt::format("backend {} is on this machine", backend.name), "the kernel forwards to other hosts only: say datapath = \"proxy\""};
}

std::optional<Obstacle> why_not_here(const ListenerConfig& listener, const PoolConfig& pool, const Result<std::vector<Interface>>& interfaces,
                                     const std::vector<PortRange>& ports) {
  if (auto obstacle = why_not_by_file(listener, pool)) return obstacle;
  if (auto obstacle = why_no_ports(listener, ports)) return obstacle;
  if (!interfaces) return why_no_network(interfaces.error());
  if (const auto indices = kernel_interfaces(listener, *interfaces); !indices) return Obstacle{indices.error().message, std::string(interfaces_cure)};
  for (const BackendConfig& backend : pool.backends) {
    const auto route = find_route(backend.address);
    if (route && route->local) return why_not_local(backend);
  }
  return std::nullopt;
}

}  // namespace usher
