// The PROXY protocol, parsing: a reader that knows "the bytes ran out" from "this can't become good".
#include "usher/relay/proxy_header.h"

#include <algorithm>
#include <expected>
#include <optional>

namespace usher {
namespace {

/// Why reading stopped: a complaint, or "" where the bytes ran out and all so far was good.
struct Stop {
  std::string_view complaint;
};
template <typename T>
using Found = std::expected<T, Stop>;

constexpr std::unexpected<Stop> dry() { return std::unexpected(Stop{}); }
constexpr std::unexpected<Stop> wrong(std::string_view complaint) { return std::unexpected(Stop{complaint}); }

constexpr std::string_view v1_front = "PROXY ";
constexpr std::array<std::uint8_t, 12> v2_signature = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                       0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
constexpr std::size_t v2_fixed_bytes = 16;
constexpr std::size_t ipv6_words = 8;

constexpr int hex_value(std::uint8_t c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Walks over the line of version 1. REQUIRES: !empty() before peek() and skip().
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}

  [[nodiscard]] bool empty() const noexcept { return at_ == bytes_.size(); }
  [[nodiscard]] std::uint8_t peek() const noexcept { return bytes_[at_]; }
  [[nodiscard]] std::size_t at() const noexcept { return at_; }
  void skip() noexcept { ++at_; }
  void back_to(std::size_t at) noexcept { at_ = at; }

  Found<void> expect(std::string_view text, std::string_view complaint) noexcept {
    for (const char c : text) {
      if (empty()) return dry();
      if (peek() != static_cast<std::uint8_t>(c)) return wrong(complaint);
      skip();
    }
    return {};
  }

  /// Digits up to the first byte that is none. That byte must have come: until then the number may still grow.
  Found<std::uint32_t> decimal(std::uint32_t limit, std::string_view complaint) noexcept {
    std::uint32_t value = 0;
    const std::size_t start = at_;
    for (; !empty() && peek() >= '0' && peek() <= '9'; skip()) {
      if (at_ > start && value == 0)
        return wrong(complaint);  // 0 in front of a digit: octal to some, so the rules forbid it
      value = value * 10 + (peek() - '0');
      if (value > limit) return wrong(complaint);
    }
    if (empty()) return dry();
    if (at_ == start) return wrong(complaint);
    return value;
  }

  /// One to four hexadecimal digits, or none: nothing was taken then.
  Found<std::optional<std::uint16_t>> hex_word(std::string_view complaint) noexcept {
    std::uint32_t value = 0;
    const std::size_t start = at_;
    for (; !empty() && hex_value(peek()) >= 0; skip()) {
      if (at_ - start == 4) return wrong(complaint);
      value = value * 16 + static_cast<std::uint32_t>(hex_value(peek()));
    }
    if (empty()) return dry();
    if (at_ == start) return std::nullopt;
    return static_cast<std::uint16_t>(value);
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

constexpr std::string_view bad_ipv4 =
    "an IPv4 address of version 1 is four numbers from 0 to 255 without leading zeros";
constexpr std::string_view bad_ipv6 =
    "an IPv6 address of version 1 is eight hexadecimal groups, or fewer with one '::'";
constexpr std::string_view bad_port = "a port of version 1 is a number from 0 to 65535 without leading zeros";
constexpr std::string_view bad_space = "the fields of version 1 are separated by exactly one space";
constexpr std::string_view bad_end = "the line of version 1 must end with CR LF";

ProxyHeader complete(std::size_t length, bool local) noexcept {
  ProxyHeader header;
  header.state = ProxyHeaderState::complete;
  header.length = length;
  header.local = local;
  return header;
}

Found<std::uint32_t> read_ipv4(Reader& reader, std::string_view complaint) noexcept {
  std::uint32_t address = 0;
  for (int octet = 0; octet < 4; ++octet) {
    if (octet > 0) {
      if (const auto dot = reader.expect(".", complaint); !dot) return std::unexpected(dot.error());
    }
    const auto value = reader.decimal(255, complaint);
    if (!value) return std::unexpected(value.error());
    address = address << 8 | *value;
  }
  return address;
}

/// The groups of an IPv6 address as they are read, and where its "::" stands.
struct Groups {
  std::array<std::uint16_t, ipv6_words> words{};
  std::size_t count = 0;
  std::optional<std::size_t> gap;

  /// A "::" stands for one group at least.
  [[nodiscard]] std::size_t count_max() const noexcept { return gap ? ipv6_words - 1 : ipv6_words; }
  [[nodiscard]] bool may_be_dotted() const noexcept {
    return gap == 0 && (count == 0 || (count == 1 && words[0] == 0xffff));
  }
  void add(std::uint16_t word) noexcept { words[count++] = word; }

  [[nodiscard]] std::array<std::uint8_t, 16> bytes() const noexcept {
    std::array<std::uint8_t, 16> out{};
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t to = gap && i >= *gap ? i + ipv6_words - count : i;
      out[2 * to] = static_cast<std::uint8_t>(words[i] >> 8);
      out[2 * to + 1] = static_cast<std::uint8_t>(words[i]);
    }
    return out;
  }
};

/// After a group: a ":" or a "::" is taken, and true is the answer where another group may follow.
Found<bool> read_colons(Reader& reader, Groups& groups) noexcept {
  if (reader.empty()) return dry();
  if (reader.peek() != ':') return false;
  if (groups.count == groups.count_max()) return wrong(bad_ipv6);
  reader.skip();
  if (reader.empty()) return dry();
  if (reader.peek() == ':') {
    if (groups.gap) return wrong(bad_ipv6);
    groups.gap = groups.count;
    reader.skip();
  }
  return groups.count < groups.count_max();
}

Found<Groups> read_ipv6(Reader& reader) noexcept {
  Groups groups;
  if (!reader.empty() && reader.peek() == ':') {
    if (const auto front = reader.expect("::", bad_ipv6); !front) return std::unexpected(front.error());
    groups.gap = 0;
  }
  for (bool more = true; more;) {
    const std::size_t start = reader.at();
    const auto word = reader.hex_word(bad_ipv6);
    if (!word) return std::unexpected(word.error());
    if (!*word) {
      if (groups.gap != groups.count) return wrong(bad_ipv6);  // only a "::" may end an address
      break;
    }
    if (reader.peek() == '.') {
      if (!groups.may_be_dotted()) return wrong(bad_ipv6);
      reader.back_to(start);
      const auto tail = read_ipv4(reader, bad_ipv6);
      if (!tail) return std::unexpected(tail.error());
      groups.add(static_cast<std::uint16_t>(*tail >> 16));
      groups.add(static_cast<std::uint16_t>(*tail));
      break;
    }
    groups.add(**word);
    const auto colons = read_colons(reader, groups);
    if (!colons) return std::unexpected(colons.error());
    more = *colons;
  }
  if (!groups.gap && groups.count != ipv6_words) return wrong(bad_ipv6);
  return groups;
}

Found<Endpoint> read_address(Reader& reader, bool ipv6) noexcept {
  if (ipv6) {
    const auto groups = read_ipv6(reader);
    if (!groups) return std::unexpected(groups.error());
    return Endpoint::ipv6(groups->bytes(), 0);
  }
  const auto address = read_ipv4(reader, bad_ipv4);
  if (!address) return std::unexpected(address.error());
  return Endpoint::ipv4(*address, 0);
}

/// Behind "UNKNOWN": the end of the line, or a space and anything up to the first CR LF.
Found<ProxyHeader> read_unknown(Reader& reader, std::span<const std::uint8_t> bytes) noexcept {
  if (reader.empty()) return dry();
  if (reader.peek() != ' ') {
    if (const auto end = reader.expect("\r\n", "UNKNOWN is followed by a space or by CR LF"); !end) {
      return std::unexpected(end.error());
    }
    return complete(reader.at(), true);
  }
  static constexpr std::array<std::uint8_t, 2> crlf = {'\r', '\n'};
  const auto line = bytes.first(std::min(bytes.size(), proxy_header_v1_bytes_max));
  const auto end = std::search(line.begin(), line.end(), crlf.begin(), crlf.end());
  if (end != line.end()) {
    return complete(static_cast<std::size_t>(end - line.begin()) + crlf.size(), true);
  }
  const std::size_t missing = line.back() == '\r' ? 1 : 2;
  if (line.size() + missing > proxy_header_v1_bytes_max) return wrong("the line of version 1 is longer than 107 bytes");
  return dry();
}

Found<ProxyHeader> read_v1(std::span<const std::uint8_t> bytes) noexcept {
  Reader reader(bytes);
  if (const auto front = reader.expect(v1_front, "no PROXY protocol header"); !front)
    return std::unexpected(front.error());
  if (!reader.empty() && reader.peek() == 'U') {
    const auto word = reader.expect("UNKNOWN", "version 1 knows TCP4, TCP6 and UNKNOWN");
    if (!word) return std::unexpected(word.error());
    return read_unknown(reader, bytes);
  }
  if (const auto word = reader.expect("TCP", "version 1 knows TCP4, TCP6 and UNKNOWN"); !word) {
    return std::unexpected(word.error());
  }
  if (reader.empty()) return dry();
  const bool ipv6 = reader.peek() == '6';
  if (!ipv6 && reader.peek() != '4') return wrong("version 1 knows TCP4, TCP6 and UNKNOWN");
  reader.skip();

  ProxyHeader header;
  for (Endpoint* endpoint : {&header.source, &header.destination}) {
    if (const auto space = reader.expect(" ", bad_space); !space) return std::unexpected(space.error());
    const auto address = read_address(reader, ipv6);
    if (!address) return std::unexpected(address.error());
    *endpoint = *address;
  }
  for (Endpoint* endpoint : {&header.source, &header.destination}) {
    if (const auto space = reader.expect(" ", bad_space); !space) return std::unexpected(space.error());
    const auto port = reader.decimal(65535, bad_port);
    if (!port) return std::unexpected(port.error());
    *endpoint = endpoint->with_port(static_cast<std::uint16_t>(*port));
  }
  if (const auto end = reader.expect("\r\n", bad_end); !end) return std::unexpected(end.error());
  header.state = ProxyHeaderState::complete;
  header.length = reader.at();
  return header;
}

std::uint16_t big_endian_16(std::span<const std::uint8_t> bytes) noexcept {
  return static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]);
}
std::uint32_t big_endian_32(std::span<const std::uint8_t> bytes) noexcept {
  return static_cast<std::uint32_t>(big_endian_16(bytes)) << 16 | big_endian_16(bytes.subspan(2));
}

/// How many bytes the addresses of a family (the high half of byte 14) take; none for a family that doesn't exist.
std::optional<std::size_t> v2_address_bytes(unsigned family) noexcept {
  static constexpr std::array<std::size_t, 4> bytes_by_family = {0, 12, 36, 216};  // UNSPEC, INET, INET6, UNIX
  if (family >= bytes_by_family.size()) return std::nullopt;
  return bytes_by_family[family];
}

Found<ProxyHeader> read_v2(std::span<const std::uint8_t> bytes) noexcept {
  const std::size_t known = std::min(bytes.size(), v2_signature.size());
  if (!std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(known), v2_signature.begin())) {
    return wrong("the signature of version 2 is broken");
  }
  if (bytes.size() <= 12) return dry();
  if (bytes[12] >> 4 != 2) return wrong("behind the signature stands a version that isn't 2");
  const unsigned command = bytes[12] & 0x0fU;
  if (command > 1) return wrong("version 2 knows the commands LOCAL and PROXY");
  bool local = command == 0;

  if (bytes.size() <= 13) return dry();
  const unsigned family = bytes[13] >> 4;
  const unsigned protocol = bytes[13] & 0x0fU;
  std::size_t address_bytes = 0;
  if (!local) {  // of a LOCAL header the family is to be ignored, whatever it is
    const auto needed = v2_address_bytes(family);
    if (!needed) return wrong("version 2 knows the families UNSPEC, INET, INET6 and UNIX");
    if (protocol > 2) return wrong("version 2 knows the protocols UNSPEC, STREAM and DGRAM");
    local = protocol != 1 || family == 0 || family == 3;
    address_bytes = protocol == 0 ? 0 : *needed;
  }

  if (bytes.size() < v2_fixed_bytes) return dry();
  const std::size_t rest = big_endian_16(bytes.subspan(14));
  if (rest < address_bytes) return wrong("the length of version 2 is too short for the addresses of its family");
  if (bytes.size() < v2_fixed_bytes + rest) return dry();

  ProxyHeader header = complete(v2_fixed_bytes + rest, local);
  if (local) return header;
  const auto block = bytes.subspan(v2_fixed_bytes, address_bytes);
  const std::uint16_t source_port = big_endian_16(block.subspan(address_bytes - 4));
  const std::uint16_t destination_port = big_endian_16(block.subspan(address_bytes - 2));
  if (family == 1) {
    header.source = Endpoint::ipv4(big_endian_32(block), source_port);
    header.destination = Endpoint::ipv4(big_endian_32(block.subspan(4)), destination_port);
  } else {
    header.source = Endpoint::ipv6(block.first<16>(), source_port);
    header.destination = Endpoint::ipv6(block.subspan<16, 16>(), destination_port);
  }
  return header;
}

}  // namespace

ProxyHeader parse_proxy_header(std::span<const std::uint8_t> bytes) noexcept {
  if (bytes.empty()) return {};
  const auto found = bytes[0] == v2_signature[0] ? read_v2(bytes) : read_v1(bytes);
  if (found) return *found;
  ProxyHeader header;
  if (!found.error().complaint.empty()) header.state = ProxyHeaderState::bad;
  header.complaint = found.error().complaint;
  return header;
}

}  // namespace usher
