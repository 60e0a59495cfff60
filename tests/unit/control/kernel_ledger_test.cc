// The kernel's counts as sums: what may fall in a map never falls here.
#include <catch2/catch_test_macros.hpp>

#include "control/kernel_counts.h"

namespace usher {
namespace {

PathCounts counted(std::uint64_t tried, std::uint64_t established = 0) {
  PathCounts counts{};
  counts.tried = tried;
  counts.established = established;
  counts.rtt[7] = established;
  return counts;
}

TEST_CASE("both datapaths' counts are summed, and only the packet path's go to a listener") {
  KernelLedger ledger;
  ledger.begin(3, "app/a", {});
  CHECK(ledger.note(3, {.proxy = counted(5, 4), .kernel = counted(20, 10)}) == 10);
  CHECK(ledger.note(3, {.proxy = counted(6, 5), .kernel = counted(22, 13)}) == 3);
  REQUIRE(ledger.find(3) != nullptr);
  CHECK(ledger.find(3)->tried == 28);
  CHECK(ledger.find(3)->established == 18);
  CHECK(ledger.find(3)->connect[7] == 18);
  CHECK(ledger.label(3) == "app/a");
  CHECK(ledger.find(4) == nullptr);
  CHECK(ledger.note(4, {.proxy = counted(1), .kernel = {}}) == 0);
}

TEST_CASE("who takes another's number begins at zero, whatever the map has") {
  KernelLedger ledger;
  ledger.begin(3, "app/a", {});
  ledger.note(3, {.proxy = counted(500), .kernel = counted(40)});
  ledger.begin(3, "app/b", {.proxy = counted(500), .kernel = counted(40)});
  CHECK(*ledger.find(3) == KernelTotals{});
  ledger.note(3, {.proxy = counted(501), .kernel = counted(42)});
  CHECK(ledger.find(3)->tried == 3);
  ledger.forget(3);
  CHECK(ledger.numbers().empty());
  CHECK(ledger.label(3).empty());
}

TEST_CASE("a sum stays while eBPF is away, and goes on from there with a new map") {
  KernelLedger ledger;
  ledger.begin(0, "app/a", {});
  ledger.note(0, {.proxy = {}, .kernel = counted(100, 90)});
  CHECK(ledger.note(0, {}) == 0);
  CHECK(ledger.find(0)->tried == 100);
  CHECK(ledger.note(0, {.proxy = {}, .kernel = counted(7, 5)}) == 5);
  CHECK(ledger.find(0)->tried == 107);
  CHECK(ledger.find(0)->established == 95);
}

}  // namespace
}  // namespace usher
