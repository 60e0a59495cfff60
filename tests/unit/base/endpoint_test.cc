// Endpoint: parsing, printing and comparing addresses.
#include "usher/base/endpoint.h"

#include <arpa/inet.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>

using namespace usher;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("an address with a port is read and printed in its canonical form") {
  struct Row {
    const char* text;
    const char* printed;
    int family;
    std::uint16_t port;
  };
  const auto row = GENERATE(Row{"1.2.3.4:80", "1.2.3.4:80", AF_INET, 80}, Row{"0.0.0.0:0", "0.0.0.0:0", AF_INET, 0},
                            Row{"255.255.255.255:65535", "255.255.255.255:65535", AF_INET, 65535},
                            Row{"[::1]:443", "[::1]:443", AF_INET6, 443}, Row{"[::]:0", "[::]:0", AF_INET6, 0},
                            Row{"[2001:DB8:0:0:0:0:0:1]:1", "[2001:db8::1]:1", AF_INET6, 1},
                            Row{"[::ffff:10.0.0.1]:9", "[::ffff:10.0.0.1]:9", AF_INET6, 9});
  CAPTURE(row.text);
  const auto endpoint = Endpoint::parse(row.text);
  REQUIRE(endpoint.has_value());
  CHECK(endpoint->text() == row.printed);
  CHECK(endpoint->family() == row.family);
  CHECK(endpoint->port() == row.port);
  CHECK(Endpoint::parse(endpoint->text()) == *endpoint);
}

TEST_CASE("what is no address is refused, and the error quotes it") {
  const std::string text =
      GENERATE(as<std::string>(), "", ":", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1",
               "1.2.3.4:8o", "1.2.3.4: 80", " 1.2.3.4:80", "1.2.3:80", "1.2.3.4.5:80", "1.2.3.256:80", "::1:80", "::1",
               "[::1]", "[::1]:", "[::1:80", "::1]:80", "[1.2.3.4]:80", "[]:80", "[:::]:80", "localhost:80",
               "1.2.3.4:99999999999999999999");
  CAPTURE(text);
  const auto endpoint = Endpoint::parse(text);
  REQUIRE_FALSE(endpoint.has_value());
  CHECK_THAT(endpoint.error().message, ContainsSubstring("'" + text + "'"));
  CHECK_THAT(endpoint.error().message, ContainsSubstring("IP:PORT"));
  CHECK(endpoint.error().code == 0);
}

TEST_CASE("an address alone takes the port from beside it") {
  CHECK(Endpoint::parse_ip("10.0.0.1", 53).value().text() == "10.0.0.1:53");
  CHECK(Endpoint::parse_ip("fe80::1", 53).value().text() == "[fe80::1]:53");
  CHECK_FALSE(Endpoint::parse_ip("[fe80::1]", 53).has_value());
  CHECK_FALSE(Endpoint::parse_ip("10.0.0.1:53", 53).has_value());
  CHECK_FALSE(Endpoint::parse_ip("", 53).has_value());
}

TEST_CASE("an unset endpoint says so, and equals only another") {
  const Endpoint unset;
  CHECK_FALSE(unset.set());
  CHECK(unset.family() == AF_UNSPEC);
  CHECK(unset.text() == "unset");
  CHECK(unset.ip_text() == "unset");
  CHECK(unset.address_bytes().empty());
  CHECK(unset == Endpoint{});
  CHECK_FALSE(unset == Endpoint::ipv4(0, 0));
}

TEST_CASE("bytes are in network order, numbers in the host's") {
  const Endpoint v4 = Endpoint::ipv4(0x01020304, 80);
  CHECK(v4.text() == "1.2.3.4:80");
  REQUIRE(v4.address_bytes().size() == 4);
  CHECK(v4.address_bytes()[0] == 1);
  CHECK(v4.address_bytes()[3] == 4);
  CHECK(v4.length() == sizeof(sockaddr_in));
  const std::array<std::uint8_t, 16> bytes{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};
  const Endpoint v6 = Endpoint::ipv6(bytes, 80);
  CHECK(v6.ip_text() == "2001:db8::7");
  REQUIRE(v6.address_bytes().size() == 16);
  CHECK(std::equal(bytes.begin(), bytes.end(), v6.address_bytes().begin()));
  CHECK(v6.length() == sizeof(sockaddr_in6));
}

TEST_CASE("what the kernel gives is taken, what is cut short or foreign is not") {
  const Endpoint v4 = Endpoint::ipv4(0x7f000001, 8080);
  const Endpoint v6 = Endpoint::parse("[::1]:8080").value();
  CHECK(Endpoint::from(v4.data(), v4.length()) == v4);
  CHECK(Endpoint::from(v6.data(), v6.length()) == v6);
  CHECK_FALSE(Endpoint::from(v4.data(), v4.length() - 1).set());
  CHECK_FALSE(Endpoint::from(v6.data(), sizeof(sockaddr_in)).set());
  sockaddr_storage foreign{};
  foreign.ss_family = AF_UNIX;
  CHECK_FALSE(Endpoint::from(reinterpret_cast<const sockaddr*>(&foreign), sizeof foreign).set());
}

TEST_CASE("another port leaves the address as it is") {
  for (const char* text : {"1.2.3.4:80", "[2001:db8::1]:80"}) {
    const Endpoint before = Endpoint::parse(text).value();
    const Endpoint after = before.with_port(81);
    CHECK(after.port() == 81);
    CHECK(after.ip_text() == before.ip_text());
    CHECK_FALSE(after == before);
    CHECK(after.with_port(80) == before);
  }
}

TEST_CASE("a mapped address becomes its IPv4 self, others stay") {
  CHECK(Endpoint::parse("[::ffff:10.1.2.3]:7").value().unmapped() == Endpoint::ipv4(0x0a010203, 7));
  for (const char* text : {"10.1.2.3:7", "[::1]:7", "[::10.1.2.3]:7"}) {
    const Endpoint endpoint = Endpoint::parse(text).value();
    CHECK(endpoint.unmapped() == endpoint);
  }
  CHECK_FALSE(Endpoint{}.unmapped().set());
}

TEST_CASE("equal means family, address, port and scope") {
  const Endpoint endpoint = Endpoint::parse("[fe80::1]:80").value();
  sockaddr_in6 raw{};
  std::memcpy(&raw, endpoint.data(), sizeof raw);
  raw.sin6_scope_id = 2;
  CHECK_FALSE(Endpoint::from(reinterpret_cast<const sockaddr*>(&raw), sizeof raw) == endpoint);
  raw.sin6_scope_id = 0;
  raw.sin6_flowinfo = 5;
  CHECK(Endpoint::from(reinterpret_cast<const sockaddr*>(&raw), sizeof raw) == endpoint);
  CHECK_FALSE(Endpoint::ipv4(1, 80) == Endpoint::ipv4(2, 80));
  CHECK_FALSE(Endpoint::ipv4(0x0a010203, 7) == Endpoint::parse("[::ffff:10.1.2.3]:7").value());
}
