// Endpoint and Cidr: an IP address with a port, and a block of addresses.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "usher/base/error.h"

namespace usher {

/// An IPv4 or IPv6 socket address (see ip(7), ipv6(7)). A value of 28 bytes; a default one is unset: family() is AF_UNSPEC.
class Endpoint {
 public:
  Endpoint() noexcept : in6_{} {}

  /// "IP:PORT" or "[IP6]:PORT"; port 0 is allowed. The error names the text and the form expected.
  static Result<Endpoint> parse(std::string_view text);
  /// An IP address without a port (no brackets).
  static Result<Endpoint> parse_ip(std::string_view text, std::uint16_t port);
  /// From the kernel; anything but AF_INET and AF_INET6 gives an unset one.
  static Endpoint from(const sockaddr* address, socklen_t length) noexcept;
  static Endpoint ipv4(std::uint32_t host_order, std::uint16_t port) noexcept;
  static Endpoint ipv6(std::span<const std::uint8_t, 16> bytes, std::uint16_t port) noexcept;

  [[nodiscard]] int family() const noexcept { return in6_.sin6_family; }
  [[nodiscard]] bool set() const noexcept { return family() != AF_UNSPEC; }
  [[nodiscard]] std::uint16_t port() const noexcept { return ntohs(in6_.sin6_port); }
  [[nodiscard]] Endpoint with_port(std::uint16_t port) const noexcept;
  /// The address in network order: 4 bytes, 16, or none when unset.
  [[nodiscard]] std::span<const std::uint8_t> address_bytes() const noexcept;
  /// ::ffff:a.b.c.d becomes a.b.c.d; anything else is itself.
  [[nodiscard]] Endpoint unmapped() const noexcept;

  [[nodiscard]] const sockaddr* data() const noexcept { return reinterpret_cast<const sockaddr*>(&in6_); }
  [[nodiscard]] socklen_t length() const noexcept { return family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6); }

  [[nodiscard]] std::string text() const;     ///< "1.2.3.4:80", "[::1]:80", "unset"
  [[nodiscard]] std::string ip_text() const;  ///< "1.2.3.4", "::1", "unset"

  friend bool operator==(const Endpoint& a, const Endpoint& b) noexcept;

 private:
  union {
    sockaddr_in in4_;
    sockaddr_in6 in6_;
  };
};

/// A block of addresses, "10.0.0.0/8", "2001:db8::/32", or a lone address. IPv4-mapped IPv6 addresses match IPv4 blocks.
class Cidr {
 public:
  static Result<Cidr> parse(std::string_view text);
  [[nodiscard]] bool contains(const Endpoint& endpoint) const noexcept;
  [[nodiscard]] std::string text() const;
  friend bool operator==(const Cidr&, const Cidr&) noexcept = default;

 private:
  Endpoint base_;
  unsigned prefix_bits_ = 0;
};

}  // namespace usher
