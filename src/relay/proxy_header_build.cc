// The PROXY protocol, building: the one line of version 1, the bytes of version 2.
#include <algorithm>
#include <charconv>
#include <utility>

#include "usher/relay/proxy_header.h"

namespace usher {
namespace {

using Out = std::span<std::uint8_t, proxy_header_built_bytes_max>;

/// Appends to a buffer whose size was chosen for the longest header there is.
class Writer {
 public:
  explicit Writer(Out out) noexcept : out_(out) {}

  void text(std::string_view text) noexcept {
    for (const char c : text) byte(static_cast<std::uint8_t>(c));
  }
  void bytes(std::span<const std::uint8_t> bytes) noexcept {
    for (const std::uint8_t b : bytes) byte(b);
  }
  void byte(std::uint8_t byte) noexcept { out_[count_++] = byte; }
  void big_endian_16(std::uint16_t value) noexcept {
    byte(static_cast<std::uint8_t>(value >> 8));
    byte(static_cast<std::uint8_t>(value));
  }
  void number(unsigned value, int base) noexcept {
    std::array<char, 8> digits{};
    const auto end = std::to_chars(digits.begin(), digits.end(), value, base).ptr;
    text({digits.begin(), end});
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

 private:
  Out out_;
  std::size_t count_ = 0;
};

Endpoint mapped(const Endpoint& endpoint) noexcept {
  if (endpoint.family() == AF_INET6) return endpoint;
  std::array<std::uint8_t, 16> bytes{};
  bytes[10] = bytes[11] = 0xff;
  std::ranges::copy(endpoint.address_bytes(), bytes.begin() + 12);
  return Endpoint::ipv6(bytes, endpoint.port());
}

/// The pair in one family: IPv4 where both can be written so, else IPv6.
std::pair<Endpoint, Endpoint> in_one_family(const Endpoint& source, const Endpoint& destination) noexcept {
  const Endpoint from = source.unmapped();
  const Endpoint to = destination.unmapped();
  if (from.family() == AF_INET && to.family() == AF_INET) return {from, to};
  return {mapped(from), mapped(to)};
}

void write_ipv4(Writer& writer, std::span<const std::uint8_t> address) noexcept {
  for (std::size_t i = 0; i < address.size(); ++i) {
    if (i > 0) writer.text(".");
    writer.number(address[i], 10);
  }
}

/// Hexadecimal groups, the first longest run of zeros as "::". Not inet_ntop(3): it writes mapped addresses with dots,
/// which the specification doesn't know.
void write_ipv6(Writer& writer, std::span<const std::uint8_t> address) noexcept {
  const auto word = [&](std::size_t i) { return static_cast<unsigned>(address[2 * i] << 8 | address[2 * i + 1]); };
  std::size_t gap = 8;
  std::size_t gap_words = 1;  // a lone zero is written out
  for (std::size_t start = 0; start < 8; ++start) {
    std::size_t end = start;
    while (end < 8 && word(end) == 0) ++end;
    if (end - start > gap_words) {
      gap = start;
      gap_words = end - start;
    }
  }
  for (std::size_t i = 0; i < 8;) {
    if (i == gap) {
      writer.text("::");
      i += gap_words;
      continue;
    }
    if (i > 0 && i != gap + gap_words) writer.text(":");
    writer.number(word(i++), 16);
  }
}

}  // namespace

std::size_t build_proxy_header_v1(const Endpoint& source, const Endpoint& destination, Out out) noexcept {
  Writer writer(out);
  if (!source.set() || !destination.set()) {
    writer.text("PROXY UNKNOWN\r\n");
    return writer.count();
  }
  const auto [from, to] = in_one_family(source, destination);
  const bool ipv4 = from.family() == AF_INET;
  writer.text(ipv4 ? "PROXY TCP4 " : "PROXY TCP6 ");
  const auto write_address = ipv4 ? write_ipv4 : write_ipv6;
  write_address(writer, from.address_bytes());
  writer.text(" ");
  write_address(writer, to.address_bytes());
  writer.text(" ");
  writer.number(from.port(), 10);
  writer.text(" ");
  writer.number(to.port(), 10);
  writer.text("\r\n");
  return writer.count();
}

std::size_t build_proxy_header_v2(const Endpoint& source, const Endpoint& destination, Out out) noexcept {
  using namespace std::string_view_literals;
  Writer writer(out);
  writer.text("\r\n\r\n\0\r\nQUIT\n"sv);
  if (!source.set() || !destination.set()) {
    writer.text("\x20\0\0\0"sv);  // LOCAL, UNSPEC, no addresses
    return writer.count();
  }
  const auto [from, to] = in_one_family(source, destination);
  const bool ipv4 = from.family() == AF_INET;
  writer.byte(0x21);                // version 2, PROXY
  writer.byte(ipv4 ? 0x11 : 0x21);  // the family, over STREAM
  writer.big_endian_16(ipv4 ? 12 : 36);
  writer.bytes(from.address_bytes());
  writer.bytes(to.address_bytes());
  writer.big_endian_16(from.port());
  writer.big_endian_16(to.port());
  return writer.count();
}

}  // namespace usher
