// The PROXY protocol, versions 1 and 2: parsing what a proxy in front sends, and building what backends get.
// Follows the specification by W. Tarreau, "The PROXY protocol, versions 1 & 2" (haproxy doc/proxy-protocol.txt).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "usher/base/endpoint.h"

namespace usher {

inline constexpr std::size_t proxy_header_v1_bytes_max = 107;
/// 16 bytes of header, and a length field of 16 bits.
inline constexpr std::size_t proxy_header_v2_bytes_max = 16 + 65535;
/// What a built header never exceeds.
inline constexpr std::size_t proxy_header_built_bytes_max = 108;

enum class ProxyHeaderState : std::uint8_t { partial, complete, bad };

/// What the front of a stream says.
struct ProxyHeader {
  ProxyHeaderState state = ProxyHeaderState::partial;
  std::size_t length = 0;     ///< bytes to take off the stream; complete only
  bool local = false;         ///< LOCAL (v2) or UNKNOWN (v1): use the connection's own addresses
  Endpoint source;            ///< set unless local
  Endpoint destination;       ///< set unless local
  std::string_view complaint; ///< bad only: what is wrong, a static string
};

/// Pure. Never reads past `bytes`; TLVs are skipped; "bad" is said as soon as no continuation could make it good.
ProxyHeader parse_proxy_header(std::span<const std::uint8_t> bytes) noexcept;

/// Both return how many bytes they wrote. Where the families differ (an IPv4-mapped client), both are written as IPv6.
std::size_t build_proxy_header_v1(const Endpoint& source, const Endpoint& destination,
                                  std::span<std::uint8_t, proxy_header_built_bytes_max> out) noexcept;
std::size_t build_proxy_header_v2(const Endpoint& source, const Endpoint& destination,
                                  std::span<std::uint8_t, proxy_header_built_bytes_max> out) noexcept;

}  // namespace usher
