// Flow: the pure machine of one direction, by hand and against random orders of events.
#include <catch2/catch_test_macros.hpp>

#include "usher/base/rng.h"
#include "usher/relay/flow.h"

using namespace usher;

TEST_CASE("a flow fills only when its pipe is empty, and drains before anything else") {
  Flow flow;
  CHECK(flow.want(false, true) == Want::source);
  CHECK(flow.want(true, false) == Want::fill);
  flow.filled(100);
  CHECK(flow.want(true, true) == Want::drain);
  CHECK(flow.want(true, false) == Want::target);
  flow.drained(40);
  CHECK(flow.want(true, true) == Want::drain);
  CHECK(flow.delivered() == 40);
  flow.drained(60);
  CHECK(flow.want(true, true) == Want::fill);
}

TEST_CASE("a FIN waits for the bytes in front of it") {
  Flow flow;
  flow.filled(10);
  flow.source_ended();
  CHECK(flow.want(true, false) == Want::target);
  CHECK(flow.want(true, true) == Want::drain);
  flow.drained(10);
  CHECK(flow.want(false, false) == Want::finish);
  flow.finished();
  CHECK(flow.over());
  CHECK(flow.want(true, true) == Want::nothing);
}

TEST_CASE("an abandoned flow says what was lost, and wants nothing more") {
  Flow flow;
  flow.filled(10);
  flow.drained(3);
  CHECK(flow.abandon() == 7);
  CHECK(flow.delivered() == 3);
  CHECK(flow.piped() == 0);
  CHECK(flow.over());
  CHECK(flow.abandon() == 0);
  flow.source_ended();
  CHECK(flow.over());
}

TEST_CASE("whatever happens in whatever order, filled = drained + piped, and a flow gets to its end") {
  const std::uint64_t seed = 42;
  CAPTURE(seed);
  Rng rng(seed);
  for (int run = 0; run < 2000; ++run) {
    Flow flow;
    std::uint64_t filled = 0;
    std::uint64_t drained = 0;
    int steps = 0;
    while (!flow.over()) {
      REQUIRE(++steps < 10000);
      switch (flow.want(rng.below(2) == 0, rng.below(2) == 0)) {
        case Want::fill:
          if (rng.below(8) == 0) {
            flow.source_ended();
          } else {
            const auto bytes = static_cast<std::uint32_t>(1 + rng.below(65536));
            flow.filled(bytes);
            filled += bytes;
          }
          break;
        case Want::drain: {
          const auto bytes = static_cast<std::uint32_t>(1 + rng.below(flow.piped()));
          flow.drained(bytes);
          drained += bytes;
          break;
        }
        case Want::finish: flow.finished(); break;
        case Want::source:
        case Want::target: break;
        case Want::nothing: FAIL("an unfinished flow wants nothing");
      }
      REQUIRE(filled == drained + flow.piped());
      REQUIRE(flow.delivered() == drained);
    }
    CHECK(filled == drained);
  }
}
