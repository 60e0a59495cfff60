// Kernel way: whether this host's network lets the kernel datapath serve a listener, and on which interfaces.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/network.h"
#include "control/source_ports.h"
#include "usher/config/config.h"

namespace usher {

/// Why the proxy serves a listener that may be the kernel's, and what to do where that isn't wanted.
struct Obstacle {
  std::string why;
  std::string cure;
};

constexpr std::string_view interfaces_cure = "interfaces = [] takes every one that fits; \"ip link\" shows what is there";

/// Whether packets that come in there can be forwarded, where nothing is said of interfaces. Pure.
[[nodiscard]] bool fits_kernel(const Interface& one);
/// Where the programs are attached for a listener. The error says which interface is missing, or that none fits. Pure.
Result<std::vector<std::uint32_t>> kernel_interfaces(const ListenerConfig& listener, const std::vector<Interface>& interfaces);
/// why_not_kernel() as an obstacle. Pure.
std::optional<Obstacle> why_not_by_file(const ListenerConfig& listener, const PoolConfig& pool);
/// What is in the way of nat where `ports` are what the stack leaves. Pure.
std::optional<Obstacle> why_no_ports(const ListenerConfig& listener, const std::vector<PortRange>& ports);
/// Where not even the interfaces could be listed. Pure.
Obstacle why_no_network(const Error& refused);
/// Where the backend's address is one of this host's. Pure.
Obstacle why_not_local(const BackendConfig& backend);
/// Everything that can be told without loading a program; asks the kernel for each backend's route.
std::optional<Obstacle> why_not_here(const ListenerConfig& listener, const PoolConfig& pool, const Result<std::vector<Interface>>& interfaces,
                                     const std::vector<PortRange>& ports);

}  // namespace usher
