// Source ports that the stack won't take by itself, so that the kernel datapath may: two connections never share one.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace usher {

using PortRange = std::pair<std::uint16_t, std::uint16_t>;  ///< first and last

/// Of 1024..65535 what isn't in `local_range` ("32768\t60999") or is in `reserved` ("8080,40000-50000"); the largest ranges, at most
/// PATH_PORT_RANGES, in ascending order. Text that can't be read counts as the kernel's default, or as none. Pure.
std::vector<PortRange> ports_left(std::string_view local_range, std::string_view reserved);
/// The same of this network namespace: net.ipv4.ip_local_port_range and ip_local_reserved_ports (Documentation/networking/ip-sysctl).
std::vector<PortRange> ports_left_by_the_stack();

}  // namespace usher
