// Cidr: blocks of addresses, and who is in them.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "usher/base/endpoint.h"

using namespace usher;
using Catch::Matchers::ContainsSubstring;

namespace {

bool contains(const char* block, const char* ip) {
  return Cidr::parse(block).value().contains(Endpoint::parse_ip(ip, 1234).value());
}

}  // namespace

TEST_CASE("a block holds what shares its leading bits, whatever the port") {
  struct Row {
    const char* block;
    const char* inside;
    const char* outside;
  };
  const auto row = GENERATE(
      Row{"10.0.0.0/8", "10.255.255.255", "11.0.0.0"}, Row{"10.0.0.0/8", "10.0.0.0", "9.255.255.255"},
      Row{"192.168.4.0/22", "192.168.7.255", "192.168.8.0"}, Row{"192.168.4.0/22", "192.168.4.0", "192.168.3.255"},
      Row{"10.0.0.128/25", "10.0.0.255", "10.0.0.127"}, Row{"10.0.0.2/31", "10.0.0.3", "10.0.0.4"},
      Row{"10.0.0.7/32", "10.0.0.7", "10.0.0.6"}, Row{"10.0.0.7", "10.0.0.7", "10.0.0.8"},
      Row{"0.0.0.0/0", "255.1.2.3", "::1"}, Row{"128.0.0.0/1", "255.0.0.1", "127.255.255.255"},
      Row{"2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"}, Row{"2001:db8::/61", "2001:db8:0:7::", "2001:db8:0:8::"},
      Row{"::/0", "2001:db8::1", "10.0.0.1"}, Row{"::1", "::1", "::2"}, Row{"fe80::/10", "febf::1", "fec0::1"});
  CAPTURE(row.block, row.inside, row.outside);
  CHECK(contains(row.block, row.inside));
  CHECK_FALSE(contains(row.block, row.outside));
}

TEST_CASE("a mapped client is in the IPv4 block that it comes from") {
  CHECK(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  CHECK_FALSE(contains("10.0.0.0/8", "::ffff:11.1.2.3"));
}

TEST_CASE("bits of the base past the prefix don't matter to who is in") {
  CHECK(contains("10.1.2.3/8", "10.9.9.9"));
  CHECK(contains("2001:db8::5/64", "2001:db8::6"));
}

TEST_CASE("nobody is in a block without an address") {
  CHECK_FALSE(Cidr::parse("0.0.0.0/0").value().contains(Endpoint{}));
  CHECK_FALSE(Cidr::parse("::/0").value().contains(Endpoint{}));
}

TEST_CASE("a block prints what it was made of, a lone address with all its bits") {
  CHECK(Cidr::parse("10.0.0.0/8").value().text() == "10.0.0.0/8");
  CHECK(Cidr::parse("10.0.0.1").value().text() == "10.0.0.1/32");
  CHECK(Cidr::parse("2001:DB8::/32").value().text() == "2001:db8::/32");
  CHECK(Cidr::parse("::1").value().text() == "::1/128");
}

TEST_CASE("blocks are equal by address and length") {
  CHECK(Cidr::parse("10.0.0.0/8").value() == Cidr::parse("10.0.0.0/8").value());
  CHECK_FALSE(Cidr::parse("10.0.0.0/8").value() == Cidr::parse("10.0.0.0/9").value());
  CHECK_FALSE(Cidr::parse("0.0.0.0/0").value() == Cidr::parse("::/0").value());
  CHECK(Cidr::parse("10.0.0.1").value() == Cidr::parse("10.0.0.1/32").value());
}

TEST_CASE("what is no block is refused, and the error quotes it") {
  const std::string text = GENERATE(as<std::string>(), "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
                                    "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/8 ", "10.0.0/8", "::/129", "[::]/0", "::/",
                                    "any", "10.0.0.0:80/8", "10.0.0.0/255.0.0.0", "10.0.0.0/4294967304");
  CAPTURE(text);
  const auto block = Cidr::parse(text);
  REQUIRE_FALSE(block.has_value());
  CHECK_THAT(block.error().message, ContainsSubstring("'" + text + "'"));
}
