// Source ports: what ip_local_port_range and ip_local_reserved_ports leave to the kernel datapath.
#include <catch2/catch_test_macros.hpp>

#include "control/source_ports.h"
#include "usher/steer/path_abi.h"

using namespace usher;
using Ranges = std::vector<PortRange>;

TEST_CASE("what lies on both sides of the stack's own range is left") {
  CHECK(ports_left("32768\t60999", "") == Ranges{{1024, 32767}, {61000, 65535}});
  CHECK(ports_left("1024\t60999", "") == Ranges{{61000, 65535}});
  CHECK(ports_left("40000 65535\n", "\n") == Ranges{{1024, 39999}});
}

TEST_CASE("a stack that takes every port leaves none") { CHECK(ports_left("1024\t65535", "").empty()); }

TEST_CASE("reserved ports are left, inside of the stack's range and beside it") {
  CHECK(ports_left("1024\t65535", "40000-49999,8080\n") == Ranges{{8080, 8080}, {40000, 49999}});
  CHECK(ports_left("32768\t60999", "60000-60999") == Ranges{{1024, 32767}, {60000, 65535}});
  CHECK(ports_left("1024\t65535", "80,443").empty());  // below 1024 nothing is taken
}

TEST_CASE("of many ranges the largest are taken, in ascending order") {
  const Ranges ranges = ports_left("1024\t65535", "2000,3000-3009,4000-4001,5000-5999,6000,7000-7099");
  REQUIRE(ranges.size() == PATH_PORT_RANGES);
  CHECK(ranges == Ranges{{3000, 3009}, {4000, 4001}, {5000, 6000}, {7000, 7099}});
}

TEST_CASE("text that can't be read counts as the kernel's default, or as none") {
  const Ranges usual{{1024, 32767}, {61000, 65535}};
  CHECK(ports_left("", "") == usual);
  CHECK(ports_left("60999 32768", "x,-,9-3,70000,1-99999") == usual);
}
