// KernelNumbers: a backend keeps its number over restarts and reloads.
#include "control/kernel_numbers.h"

#include <catch2/catch_test_macros.hpp>

#include "control/kernel_datapath.h"

using namespace usher;

namespace {

Endpoint at(std::uint16_t port) { return Endpoint::ipv4(0x0a000001, port); }
bool idle(std::uint32_t) { return true; }

}  // namespace

TEST_CASE("kernel numbers: a new backend has the first number that nobody ever had") {
  KernelNumbers numbers(8);
  for (std::uint32_t i = 0; i < 3; ++i) {
    const auto given = numbers.give(1, at(static_cast<std::uint16_t>(80 + i)), idle);
    REQUIRE(given);
    CHECK(given->number == i);
    CHECK(given->fresh);
  }
  const auto again = numbers.give(1, at(81), idle);
  CHECK(again->number == 1);
  CHECK_FALSE(again->fresh);
}

TEST_CASE("kernel numbers: what an earlier daemon gave is kept for the same pool and address") {
  KernelNumbers numbers(8);
  numbers.remember(5, 1, at(80));
  numbers.remember(0, 1, at(81));
  CHECK(numbers.give(1, at(80), idle)->number == 5);
  CHECK(numbers.give(2, at(80), idle)->number == 1);  // another pool's
  CHECK(numbers.give(1, at(81), idle)->number == 0);
  CHECK(numbers.give(1, at(82), idle)->number == 2);
}

TEST_CASE("kernel numbers: one that has flows is given to nobody else; of the others, the one released first") {
  KernelNumbers numbers(3);
  for (std::uint16_t port = 80; port < 83; ++port) numbers.give(1, at(port), idle);
  CHECK_FALSE(numbers.give(1, at(90), idle));  // nobody has gone
  numbers.keep_only({2});
  numbers.keep_only({});
  const auto busy = [](std::uint32_t number) { return number != 0; };
  const auto given = numbers.give(1, at(90), busy);
  REQUIRE(given);
  CHECK(given->number == 1);
  CHECK(given->fresh);
  CHECK(numbers.give(1, at(80), busy)->number == 0);  // back before anybody had its number
  CHECK(numbers.give(1, at(81), busy)->number == 2);  // its own is gone
}

TEST_CASE("kernel numbers: nonsense in the pinned maps is passed over") {
  KernelNumbers numbers(4);
  numbers.remember(4, 1, at(80));
  numbers.remember(1, 1, at(81));
  numbers.remember(1, 1, at(82));
  numbers.remember(2, 1, at(81));
  CHECK(numbers.give(1, at(81), idle)->number == 1);
  CHECK(numbers.give(1, at(80), idle)->number == 0);
  CHECK(numbers.give(1, at(82), idle)->number == 2);
}

TEST_CASE("the pin folder follows the admin socket") {
  CHECK(kernel_pin_folder(AdminConfig{}) == "/sys/fs/bpf/usher");
  AdminConfig one;
  one.socket = "/run/one.sock";
  AdminConfig two = one;
  two.http = "";
  CHECK(kernel_pin_folder(one).starts_with("/sys/fs/bpf/usher-"));
  CHECK(kernel_pin_folder(one) == kernel_pin_folder(two));
  two.socket = "/run/two.sock";
  CHECK(kernel_pin_folder(one) != kernel_pin_folder(two));
}
