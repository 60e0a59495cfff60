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
  std::size_t length = 0;      ///< bytes to take off the stream; complete only
  bool local = false;          ///< complete only: use the connection's own addresses (see parse_proxy_header)
  Endpoint source;             ///< set when complete and not local; as sent, so an IPv4-mapped one stays mapped
  Endpoint destination;        ///< like source
  std::string_view complaint;  ///< bad only: what is wrong, a static string
};

/// Pure and thread safe. Never reads past `bytes`; TLVs are skipped; "bad" is said as soon as no continuation could
/// make it good, so "partial" means that some continuation is good. What follows the header in `bytes` is not looked
/// at.
///
/// `local` is a header that is valid and gives no TCP address: UNKNOWN (v1), LOCAL whatever its family says, UNSPEC, a
/// Unix socket, or a datagram. For the last two the specification (2.2) wants a receiver that has no use for a valid
/// combination to fall back to the connection's own addresses rather than to refuse it. Their length must still hold
/// their addresses.
///
/// In v1, IPv6 may have a dotted tail only as inet_ntop(3) writes it ("::1.2.3.4", "::ffff:1.2.3.4"): the specification
/// knows hexadecimal groups alone, but senders print with inet_ntop.
ProxyHeader parse_proxy_header(std::span<const std::uint8_t> bytes) noexcept;

/// Both return how many bytes they wrote; pure and thread safe. Where the families differ, both are written as IPv6,
/// the IPv4 one mapped. Two addresses that are IPv4 once unmapped (a dual-stack listener's) are written as IPv4. Where
/// either is unset, v1 says UNKNOWN and v2 says LOCAL. IPv6 scopes are not carried.
std::size_t build_proxy_header_v1(const Endpoint& source, const Endpoint& destination,
                                  std::span<std::uint8_t, proxy_header_built_bytes_max> out) noexcept;
std::size_t build_proxy_header_v2(const Endpoint& source, const Endpoint& destination,
                                  std::span<std::uint8_t, proxy_header_built_bytes_max> out) noexcept;

}  // namespace usher
