// Endpoint and Cidr: parsing, printing, comparing.
#include "usher/base/endpoint.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

#include <fmt/format.h>

namespace usher {
namespace {

template <typename Number>
bool parse_number(std::string_view text, Number low, Number high, Number& out) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out);
  return !text.empty() && status == std::errc{} && end == text.data() + text.size() && out >= low && out <= high;
}

std::span<const std::uint8_t> bytes_of(const void* start, std::size_t size) noexcept {
  return {static_cast<const std::uint8_t*>(start), size};
}

}  // namespace

Result<Endpoint> Endpoint::parse_ip(std::string_view text, std::uint16_t port) {
  // inet_pton would stop at it, and take what comes before for the whole.
  if (text.find('\0') != std::string_view::npos) return fail("an IP address holds no NUL");
  const std::string ip(text);
  Endpoint endpoint;
  if (in_addr v4{}; inet_pton(AF_INET, ip.c_str(), &v4) == 1) return ipv4(ntohl(v4.s_addr), port);
  if (in6_addr v6{}; inet_pton(AF_INET6, ip.c_str(), &v6) == 1) {
    return ipv6(std::span<const std::uint8_t, 16>(v6.s6_addr, 16), port);
  }
  return fail(fmt::format("'{}' is not an IP address", text));
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const auto wrong = [&] { return fail(fmt::format("'{}' is not an address; expected IP:PORT or [IP6]:PORT", text)); };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  std::string_view ip = text.substr(0, colon);
  unsigned port = 0;
  if (!parse_number(text.substr(colon + 1), 0U, 65535U, port)) return wrong();
  const bool bracketed = ip.size() >= 2 && ip.front() == '[' && ip.back() == ']';
  if (bracketed) ip = ip.substr(1, ip.size() - 2);
  auto endpoint = parse_ip(ip, static_cast<std::uint16_t>(port));
  if (!endpoint || (endpoint->family() == AF_INET6) != bracketed) return wrong();
  return endpoint;
}

Endpoint Endpoint::from(const sockaddr* address, socklen_t length) noexcept {
  Endpoint endpoint;
  if (address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    std::memcpy(&endpoint.in4_, address, sizeof(sockaddr_in));
  } else if (address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    std::memcpy(&endpoint.in6_, address, sizeof(sockaddr_in6));
  }
  return endpoint;
}

Endpoint Endpoint::ipv4(std::uint32_t host_order, std::uint16_t port) noexcept {
  Endpoint endpoint;
  endpoint.in4_.sin_family = AF_INET;
  endpoint.in4_.sin_port = htons(port);
  endpoint.in4_.sin_addr.s_addr = htonl(host_order);
  return endpoint;
}

Endpoint Endpoint::ipv6(std::span<const std::uint8_t, 16> bytes, std::uint16_t port) noexcept {
  Endpoint endpoint;
  endpoint.in6_.sin6_family = AF_INET6;
  endpoint.in6_.sin6_port = htons(port);
  std::memcpy(endpoint.in6_.sin6_addr.s6_addr, bytes.data(), bytes.size());
  return endpoint;
}

Endpoint Endpoint::with_port(std::uint16_t port) const noexcept {
  Endpoint copy = *this;
  copy.in6_.sin6_port = htons(port);  // the port stands at the same place in both families
  return copy;
}

std::span<const std::uint8_t> Endpoint::address_bytes() const noexcept {
  switch (family()) {
    case AF_INET: return bytes_of(&in4_.sin_addr, 4);
    case AF_INET6: return bytes_of(&in6_.sin6_addr, 16);
    default: return {};
  }
}

Endpoint Endpoint::unmapped() const noexcept {
  if (family() != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6_.sin6_addr)) return *this;
  std::uint32_t v4 = 0;
  std::memcpy(&v4, in6_.sin6_addr.s6_addr + 12, 4);
  return ipv4(ntohl(v4), port());
}

std::string Endpoint::ip_text() const {
  if (!set()) return "unset";
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family(), address_bytes().data(), text, sizeof text);
  return text;
}

std::string Endpoint::text() const {
  switch (family()) {
    case AF_INET: return fmt::format("{}:{}", ip_text(), port());
    case AF_INET6: return fmt::format("[{}]:{}", ip_text(), port());
    default: return "unset";
  }
}

bool operator==(const Endpoint& a, const Endpoint& b) noexcept {
  if (a.family() != b.family()) return false;
  if (!a.set()) return true;
  const auto left = a.address_bytes();
  const auto right = b.address_bytes();
  if (a.family() == AF_INET6 && a.in6_.sin6_scope_id != b.in6_.sin6_scope_id) return false;
  return a.port() == b.port() && std::memcmp(left.data(), right.data(), left.size()) == 0;
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const auto wrong = [&] { return fail(fmt::format("'{}' is not an address block; expected IP or IP/BITS", text)); };
  const std::size_t slash = text.find('/');
  const auto base = Endpoint::parse_ip(text.substr(0, slash), 0);
  if (!base) return wrong();
  const unsigned bits_max = base->family() == AF_INET ? 32 : 128;
  unsigned bits = bits_max;
  if (slash != std::string_view::npos && !parse_number(text.substr(slash + 1), 0U, bits_max, bits)) return wrong();
  Cidr block;
  block.base_ = *base;
  block.prefix_bits_ = bits;
  // "::ffff:10.0.0.0/104" means 10.0.0.0/8: clients are compared in that form.
  if (const Endpoint plain = base->unmapped(); plain.family() != base->family() && bits >= 96) {
    block.base_ = plain;
    block.prefix_bits_ = bits - 96;
  }
  return block;
}

bool Cidr::contains(const Endpoint& endpoint) const noexcept {
  const Endpoint plain = base_.family() == AF_INET ? endpoint.unmapped() : endpoint;
  if (plain.family() != base_.family()) return false;
  const auto mine = base_.address_bytes();
  const auto theirs = plain.address_bytes();
  const std::size_t whole = prefix_bits_ / 8;
  if (std::memcmp(mine.data(), theirs.data(), whole) != 0) return false;
  const unsigned rest = prefix_bits_ % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xff00U >> rest);
  return (mine[whole] & mask) == (theirs[whole] & mask);
}

std::string Cidr::text() const { return fmt::format("{}/{}", base_.ip_text(), prefix_bits_); }

}  // namespace usher
