// The PROXY protocol: vectors written from the specification by hand, and properties over seeded random headers.
#include "usher/relay/proxy_header.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "usher/base/rng.h"

namespace usher {
namespace {

using namespace std::string_view_literals;
using State = ProxyHeaderState;

constexpr std::string_view signature = "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"sv;
constexpr std::uint64_t seed = 20261123;

/// The bytes stand in a heap block of their own size, so that a sanitizer sees a read past their end.
ProxyHeader parse(std::string_view text) {
  const std::vector<std::uint8_t> bytes(text.begin(), text.end());
  return parse_proxy_header(bytes);
}

std::string v2(std::string_view command_and_family, std::size_t length, std::string_view rest) {
  std::string out(signature);
  out += command_and_family;
  out += static_cast<char>(length >> 8);
  out += static_cast<char>(length & 0xff);
  return out + std::string(rest);
}

Endpoint at(std::string_view text) {
  auto endpoint = Endpoint::parse(text);
  REQUIRE(endpoint);
  return *endpoint;
}

std::string printable(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    if (c >= ' ' && c <= '~') {
      out += c;
    } else {
      out +=
          "\\x" + std::string(1, "0123456789abcdef"[static_cast<unsigned char>(c) >> 4]) + "0123456789abcdef"[c & 15];
    }
  }
  return out;
}

const std::string ipv4_block = std::string("\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb", 12);
const std::string ipv6_block = std::string("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16) +
                               std::string("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\xff\xff", 16) +
                               std::string("\x00\x00\xff\xff", 4);

struct Good {
  std::string bytes;
  std::string source;  ///< "" = local
  std::string destination;
};

std::vector<Good> good_table() {
  const std::string ffff = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  const std::string full = "[" + ffff + "]:65535";
  return {
      // Section 2.1: its example, its longest lines, its shortest.
      {"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324", "192.168.0.11:443"},
      {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", "255.255.255.255:65535"},
      {"PROXY TCP6 " + ffff + " " + ffff + " 65535 65535\r\n", full, full},
      {"PROXY UNKNOWN\r\n", "", ""},
      {"PROXY UNKNOWN " + ffff + " " + ffff + " 65535 65535\r\n", "", ""},
      {"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", "0.0.0.0:0"},
      {"PROXY TCP6 ::1 :: 1 65535\r\n", "[::1]:1", "[::]:65535"},
      {"PROXY TCP6 2001:DB8::A 2001:0db8:0:0:0:0:0:b 10 20\r\n", "[2001:db8::a]:10", "[2001:db8::b]:20"},
      {"PROXY TCP6 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1 2\r\n", "[1:2:3:4:5:6:7:0]:1", "[0:2:3:4:5:6:7:8]:2"},
      {"PROXY TCP6 1:2:3::5:6:7:8 1::8 1 2\r\n", "[1:2:3:0:5:6:7:8]:1", "[1::8]:2"},
      {"PROXY TCP6 ::ffff:1.2.3.4 ::102:304 1 2\r\n", "[::ffff:102:304]:1", "[::102:304]:2"},
      {"PROXY TCP6 ::255.255.255.255 ::FFFF:0.0.0.0 1 2\r\n", "[::ffff:ffff]:1", "[::ffff:0:0]:2"},
      // "The receiver must ignore anything presented before the CRLF", a lone CR or LF too: neither ends the line.
      {"PROXY UNKNOWN \r\n", "", ""},
      {"PROXY UNKNOWN what\never\r\r\n", "", ""},
      {"PROXY UNKNOWN " + std::string(91, 'x') + "\r\n", "", ""},
      // Section 2.2.
      {v2("\x21\x11", 12, ipv4_block), "192.168.0.1:56324", "192.168.0.11:443"},
      {v2("\x21\x21", 36, ipv6_block), "[2001:db8::1]:0", "[2001:db8::ffff]:65535"},
      {v2("\x21\x11", 19, ipv4_block + std::string("\x04\x00\x04nope", 7)), "192.168.0.1:56324", "192.168.0.11:443"},
      {v2("\x21\x21", 36 + 300, ipv6_block + std::string(300, '\xff')), "[2001:db8::1]:0", "[2001:db8::ffff]:65535"},
      {v2("\x21\x11", 65535, ipv4_block + std::string(65523, '\0')), "192.168.0.1:56324", "192.168.0.11:443"},
      {v2("\x20\0"sv, 0, ""), "", ""},
      {v2("\x20\0"sv, 5, "12345"), "", ""},
      {v2("\x20\x11", 0, ""), "", ""},
      {v2("\x20\xff", 3, "abc"), "", ""},  // LOCAL: "discard the protocol block including the family which is ignored"
      {v2("\x21\0"sv, 0, ""), "", ""},
      {v2("\x21\0"sv, 7, "1234567"), "", ""},
      {v2("\x21\x01", 0, ""), "", ""},
      {v2("\x21\x10", 0, ""), "", ""},
      {v2("\x21\x31", 216, std::string(216, 'u')), "", ""},
      {v2("\x21\x32", 217, std::string(217, 'u')), "", ""},
      {v2("\x21\x12", 12, ipv4_block), "", ""},  // UDP through a TCP listener: valid, of no use, so the fallback
      {v2("\x21\x22", 36, ipv6_block), "", ""},
  };
}

struct Bad {
  std::string bytes;
  std::size_t known_at;  ///< with how many bytes it must be called bad; with one less it could still have become good
};

// long: one line a vector
std::vector<Bad> bad_table() {
  const auto line = [](std::string_view front, std::string_view rest) {
    return Bad{std::string(front) + std::string(rest), front.size()};
  };
  return {
      line("G", "ET / HTTP/1.1\r\n"),
      line("\x16", "\x03\x01"),
      line("p", "roxy TCP4"),
      line("PROXYT", "CP4 1.2.3.4"),
      line("PROXY\t", "TCP4 1.2.3.4"),
      line("PROXY  ", "TCP4 1.2.3.4"),
      line("PROXY t", "cp4 1.2.3.4"),
      line("PROXY TCP5", " 1.2.3.4"),
      line("PROXY TCP ", "1.2.3.4"),
      line("PROXY UD", "P4 1.2.3.4"),
      line("PROXY TCP44", " 1.2.3.4"),
      line("PROXY TCP4\r", "\n"),
      line("PROXY TCP4  ", "1.2.3.4"),
      line("PROXY UNKNOWNX", "\r\n"),
      line("PROXY UNKNOWN\n", ""),
      line("PROXY UNKNOWN\rx", "\r\n"),
      line("PROXY UNKNOWN " + std::string(92, 'x'), "\r\n"),  // 106 bytes, and two more are needed
      line("PROXY UNKNOWN " + std::string(91, 'x') + "\rx", ""),
      line("PROXY TCP4 256", ".1.1.1 1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 01", ".1.1.1 1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 00", ".1.1.1 1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 1.1.1 ", "1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 1.1.1.1.", "1 1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 1..", "1.1 1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 -", "1.1.1.1 1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 0x", "1.1.1.1 1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 :", ":1 ::1 1 1\r\n"),
      line("PROXY TCP4 1.1.1.1  ", "1.1.1.1 1 1\r\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 65536", " 1\r\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 1 65536", "\r\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 01", " 1\r\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 1 00", "\r\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 +", "1 1\r\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 1\r", "\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 1 \r", "\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 ", "\r\n"),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", ""),
      line("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\r", "\n"),
      line("PROXY TCP6 1.", "1.1.1 1.1.1.1 1 1\r\n"),
      line("PROXY TCP6 :1", "::2 ::1 1 1\r\n"),
      line("PROXY TCP6 :::", "1 ::1 1 1\r\n"),
      line("PROXY TCP6 1::2::", "3 ::1 1 1\r\n"),
      line("PROXY TCP6 12345", "::1 ::1 1 1\r\n"),
      line("PROXY TCP6 g", "::1 ::1 1 1\r\n"),
      line("PROXY TCP6 1:2:3:4:5:6:7 ", "::1 1 1\r\n"),
      line("PROXY TCP6 1:2:3:4:5:6:7:8:", "9 ::1 1 1\r\n"),
      line("PROXY TCP6 ::1:2:3:4:5:6:7:", "8 ::1 1 1\r\n"),
      line("PROXY TCP6 1:2:3:4:5:6:7::8", " ::1 1 1\r\n"),
      line("PROXY TCP6 1:2: ", "::1 1 1\r\n"),
      line("PROXY TCP6 ::fffe:1.", "2.3.4 ::1 1 1\r\n"),
      line("PROXY TCP6 ::ffff:256.", "2.3.4 ::1 1 1\r\n"),
      line("PROXY TCP6 ::ffff:1.2.3 ", "::1 1 1\r\n"),
      line("PROXY TCP6 fe80::1%", "eth0 ::1 1 1\r\n"),
      line("PROXY TCP6 [", "::1] ::1 1 1\r\n"),
      line("\r\n\r\n\0\r\nQUIT\r"sv, "\x21\x11"),
      line("\r\n\r\n\r"sv, ""),
      Bad{v2("\x11\x11", 12, ipv4_block), 13},  // version 1 in a binary header
      Bad{v2("\x31\x11", 12, ipv4_block), 13},  // version 3
      Bad{v2("\x22\x11", 12, ipv4_block), 13},  // a command that isn't assigned
      Bad{v2("\x2f\x11", 12, ipv4_block), 13},
      Bad{v2("\x21\x41", 12, ipv4_block), 14},  // a family that doesn't exist
      Bad{v2("\x21\xf1", 12, ipv4_block), 14},
      Bad{v2("\x21\x13", 12, ipv4_block), 14},  // a protocol that doesn't exist
      Bad{v2("\x21\x03", 0, ""), 14},
      Bad{v2("\x21\x11", 11, ipv4_block), 16},  // shorter than its addresses
      Bad{v2("\x21\x11", 0, ""), 16},
      Bad{v2("\x21\x12", 11, ipv4_block), 16},
      Bad{v2("\x21\x21", 35, ipv6_block), 16},
      Bad{v2("\x21\x31", 215, std::string(215, 'u')), 16},
  };
}

Endpoint random_endpoint(Rng& rng, bool ipv6) {
  const auto port = static_cast<std::uint16_t>(rng());
  if (!ipv6) return Endpoint::ipv4(static_cast<std::uint32_t>(rng()), port);
  std::array<std::uint8_t, 16> bytes{};
  const std::uint64_t zero_share = rng.below(8);  // runs of zeros are where printing goes wrong
  for (auto& byte : bytes) byte = rng.below(8) < zero_share ? 0 : static_cast<std::uint8_t>(rng());
  return Endpoint::ipv6(bytes, port);
}

Endpoint mapped(const Endpoint& ipv4) {
  auto text = Endpoint::parse_ip("::ffff:" + ipv4.ip_text(), ipv4.port());
  REQUIRE(text);
  return *text;
}

std::string built(std::size_t (*build)(const Endpoint&, const Endpoint&,
                                       std::span<std::uint8_t, proxy_header_built_bytes_max>) noexcept,
                  const Endpoint& source, const Endpoint& destination) {
  std::array<std::uint8_t, proxy_header_built_bytes_max> out{};
  const std::size_t count = build(source, destination, out);
  REQUIRE(count <= out.size());
  return {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count)};
}

/// What version 1 allows, said a second time by other means: a regular expression and inet_pton(3).
bool oracle_accepts_v1_tcp(const std::string& line) {
  static const std::regex form(
      R"(^PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n$)");
  static const std::regex dots_of_inet_ntop(R"(^::([fF]{4}:)?[0-9.]+$)");
  std::smatch part;
  if (!std::regex_match(line, part, form)) return false;
  for (const std::size_t i : {2U, 3U}) {
    in6_addr address{};
    const std::string text = part[i].str();
    if (inet_pton(part[1].str() == "4" ? AF_INET : AF_INET6, text.c_str(), &address) != 1) return false;
    const bool dotted6 = part[1].str() == "6" && text.find('.') != std::string::npos;
    if (dotted6 && !std::regex_match(text, dots_of_inet_ntop)) return false;
  }
  return std::stoi(part[4]) <= 65535 && std::stoi(part[5]) <= 65535;
}

}  // namespace

TEST_CASE("every header of the specification is read, and nothing behind it") {
  for (const auto& [bytes, source, destination] : good_table()) {
    for (const auto* behind : {"", "\r\n", "GET / HTTP/1.1\r\n"}) {
      CAPTURE(printable(bytes.substr(0, 120)), behind);
      const ProxyHeader header = parse(bytes + behind);
      INFO(header.complaint);
      REQUIRE(header.state == State::complete);
      CHECK(header.length == bytes.size());
      CHECK(header.local == source.empty());
      CHECK(header.source == (source.empty() ? Endpoint() : at(source)));
      CHECK(header.destination == (destination.empty() ? Endpoint() : at(destination)));
      CHECK(header.complaint.empty());
    }
  }
}

TEST_CASE("a good header that arrives byte by byte is partial until its last byte") {
  for (const auto& good : good_table()) {
    CAPTURE(printable(good.bytes.substr(0, 120)));
    const std::size_t step = good.bytes.size() > 1000 ? 997 : 1;
    for (std::size_t count = 0; count < good.bytes.size(); count += step) {
      CAPTURE(count);
      const ProxyHeader header = parse(std::string_view(good.bytes).substr(0, count));
      REQUIRE(header.state == State::partial);
      REQUIRE(header.length == 0);
    }
    REQUIRE(parse(std::string_view(good.bytes).substr(0, good.bytes.size() - 1)).state == State::partial);
  }
}

TEST_CASE("a bad header is called bad with the first byte that makes it so, and ever after") {
  for (const auto& [bytes, known_at] : bad_table()) {
    for (std::size_t count = 0; count <= bytes.size(); ++count) {
      CAPTURE(printable(bytes.substr(0, 120)), count, known_at);
      const ProxyHeader header = parse(std::string_view(bytes).substr(0, count));
      REQUIRE(header.state == (count < known_at ? State::partial : State::bad));
      REQUIRE(header.complaint.empty() == (count < known_at));
    }
  }
}

TEST_CASE("whatever is partial can still become complete") {
  // Mutants of good headers, cut anywhere: where the answer is partial, a byte that keeps it alive must exist at every
  // step up to a complete header. The bytes that end a field come first, so that the search ends.
  static constexpr std::string_view favourites = "\r\n .:01TCP46UNKOWRXY\x21\x11\x20QI\0"sv;
  Rng rng(seed);
  INFO("seed " << seed);
  const auto table = good_table();
  int completed = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string& model = table[rng.below(table.size())].bytes;
    std::string text = model.substr(0, rng.below(std::min<std::size_t>(model.size(), 130)));
    if (!text.empty() && rng.below(2) == 0) text[rng.below(text.size())] = favourites[rng.below(favourites.size())];
    CAPTURE(round, printable(text));
    ProxyHeader header = parse(text);
    const bool started_partial = header.state == State::partial;
    while (header.state == State::partial && text.size() < 600) {
      bool alive = false;
      for (std::size_t i = 0; i < favourites.size() + 256 && !alive; ++i) {
        const char next = i < favourites.size() ? favourites[i] : static_cast<char>(i - favourites.size());
        header = parse(text + next);
        alive = header.state != State::bad;
        if (alive) text += next;
      }
      REQUIRE(alive);
      if (text.starts_with(signature) && text.size() > 16) break;  // from here on only the length counts
      if (text.starts_with("PROXY")) REQUIRE(text.size() <= proxy_header_v1_bytes_max);
    }
    completed += started_partial && header.state == State::complete ? 1 : 0;
  }
  CHECK(completed > 500);
}

TEST_CASE("lines of version 1 are taken exactly where a regular expression and inet_pton take them") {
  static constexpr std::string_view letters = "0123456789abcfFx:. \r\n";
  Rng rng(seed);
  INFO("seed " << seed);
  int taken = 0;
  for (int round = 0; round < 20000; ++round) {
    const bool ipv6 = rng.below(2) == 1;
    std::string line = built(build_proxy_header_v1, random_endpoint(rng, ipv6), random_endpoint(rng, ipv6));
    for (std::uint64_t edits = rng.below(3); edits > 0; --edits) {
      const std::size_t place = 11 + rng.below(line.size() - 13);
      const char letter = letters[rng.below(letters.size())];
      switch (rng.below(3)) {
        case 0:
          line[place] = letter;
          break;
        case 1:
          line.insert(place, 1, letter);
          break;
        case 2:
          line.erase(place, 1);
          break;
      }
    }
    CAPTURE(round, printable(line));
    const ProxyHeader header = parse(line);
    const bool whole = header.state == State::complete && header.length == line.size();
    REQUIRE(whole == oracle_accepts_v1_tcp(line));
    taken += whole ? 1 : 0;
  }
  CHECK(taken > 4000);
  CHECK(taken < 16000);
}

TEST_CASE("what is built is read back the same, in both versions and in every mix of families") {
  Rng rng(seed);
  INFO("seed " << seed);
  for (int round = 0; round < 5000; ++round) {
    const bool source_is_ipv6 = rng.below(2) == 1;
    const bool destination_is_ipv6 = rng.below(2) == 1;
    const Endpoint source = random_endpoint(rng, source_is_ipv6);
    const Endpoint destination = random_endpoint(rng, destination_is_ipv6);
    CAPTURE(round, source.text(), destination.text());
    const bool mixed = source_is_ipv6 != destination_is_ipv6;
    for (const auto build : {build_proxy_header_v1, build_proxy_header_v2}) {
      const std::string bytes = built(build, source, destination);
      CAPTURE(printable(bytes));
      const ProxyHeader header = parse(bytes + "x");
      REQUIRE(header.state == State::complete);
      REQUIRE(header.length == bytes.size());
      REQUIRE_FALSE(header.local);
      REQUIRE(header.source == (mixed && !source_is_ipv6 ? mapped(source) : source));
      REQUIRE(header.destination == (mixed && !destination_is_ipv6 ? mapped(destination) : destination));
    }
  }
}

TEST_CASE("built headers are, byte for byte, those of the specification") {
  const Endpoint a = at("192.168.0.1:56324");
  const Endpoint b = at("192.168.0.11:443");
  CHECK(built(build_proxy_header_v1, a, b) == "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
  CHECK(built(build_proxy_header_v2, a, b) == v2("\x21\x11", 12, ipv4_block));
  CHECK(built(build_proxy_header_v2, at("[2001:db8::1]:0"), at("[2001:db8::ffff]:65535")) ==
        v2("\x21\x21", 36, ipv6_block));
  const Endpoint widest = at("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
  CHECK(built(build_proxy_header_v1, widest, widest).size() == 104);
  CHECK(built(build_proxy_header_v1, at("[1:0:0:2:0:0:0:3]:1"), at("[0:1:0:1:0:1:0:0]:2")) ==
        "PROXY TCP6 1:0:0:2::3 0:1:0:1:0:1:: 1 2\r\n");
  CHECK(built(build_proxy_header_v1, at("[::]:1"), at("[1:2:3:4:5:6:7:8]:2")) ==
        "PROXY TCP6 :: 1:2:3:4:5:6:7:8 1 2\r\n");
}

TEST_CASE("a client of a dual-stack listener is shown as IPv4, and as mapped IPv6 where the other end is IPv6") {
  const Endpoint client = at("[::ffff:10.0.0.1]:1234");
  CHECK(built(build_proxy_header_v1, client, at("[::ffff:10.0.0.2]:80")) == "PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\n");
  CHECK(built(build_proxy_header_v1, client, at("10.0.0.2:80")) == "PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\n");
  CHECK(built(build_proxy_header_v1, client, at("[2001:db8::2]:80")) ==
        "PROXY TCP6 ::ffff:a00:1 2001:db8::2 1234 80\r\n");
}

TEST_CASE("addresses that are not known are said to be unknown") {
  CHECK(built(build_proxy_header_v1, Endpoint(), at("10.0.0.2:80")) == "PROXY UNKNOWN\r\n");
  CHECK(built(build_proxy_header_v2, at("10.0.0.2:80"), Endpoint()) == v2("\x20\0"sv, 0, ""));
  CHECK(parse(built(build_proxy_header_v2, Endpoint(), Endpoint())).local);
}

}  // namespace usher
