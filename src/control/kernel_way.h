// Kernel way: whether this host's network lets the kernel datapath serve a listener, and on which interfaces.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/network.h"
#include "control/source_ports.h"
#include "usher/config/config.h"

namespace usher {

/// Whether packets that come in there can be forwarded, where nothing is said of interfaces. Pure.
[[nodiscard]] bool fits_kernel(const Interface& one);
/// Where the programs are attached for a listener. The error says which interface is missing, or that none fits. Pure.
Result<std::vector<std::uint32_t>> kernel_interfaces(const ListenerConfig& listener, const std::vector<Interface>& interfaces);
/// What is in the way of nat where `ports` are what the stack leaves. Pure.
std::optional<std::string> why_no_ports(const ListenerConfig& listener, const std::vector<PortRange>& ports);
/// Everything that can be told without loading a program, why_not_kernel() included; asks the kernel for each backend's route.
std::optional<std::string> why_not_here(const ListenerConfig& listener, const PoolConfig& pool, const std::vector<Interface>& interfaces,
                                        const std::vector<PortRange>& ports);

}  // namespace usher
