// Limits: descriptors shared out; never more promised than there are.
#include <catch2/catch_test_macros.hpp>

#include "control/limits.h"

using namespace usher;

TEST_CASE("what is promised never needs more descriptors than there are") {
  for (const std::uint64_t descriptors : {256ULL, 1024ULL, 20000ULL, 65536ULL, 1048576ULL}) {
    for (const std::uint32_t workers : {1U, 2U, 8U}) {
      CAPTURE(descriptors, workers);
      const auto limits = divide_descriptors(descriptors, workers, 2, 10, 100000);
      REQUIRE(limits.has_value());
      const std::uint64_t promised = std::uint64_t{limits->sessions_max} * 2 + std::uint64_t{limits->pipes_max} * workers * 2;
      CHECK(promised + 64 <= descriptors);
      CHECK(limits->sessions_max > 0);
      CHECK(limits->pipes_max >= 2);
    }
  }
}

TEST_CASE("fewer sessions than asked for are said in a sentence, with the number that would do") {
  const auto tight = divide_descriptors(20000, 2, 1, 3, 100000);
  REQUIRE(tight.has_value());
  CHECK(tight->sessions_max < 10000);
  CHECK(tight->remark.find("RLIMIT_NOFILE (20000)") != std::string::npos);
  const auto roomy = divide_descriptors(1048576, 2, 1, 3, 100000);
  REQUIRE(roomy.has_value());
  CHECK(roomy->sessions_max == 100000);
  CHECK(roomy->remark.empty());
}

TEST_CASE("too few descriptors to serve at all is an error that says how many") {
  const auto limits = divide_descriptors(64, 2, 1, 3, 1000);
  REQUIRE_FALSE(limits.has_value());
  CHECK(limits.error().message.find("RLIMIT_NOFILE is 64") == 0);
}

TEST_CASE("large pipes take at most half of the ration that all pipes of a user share") {
  CHECK(share_pipe_pages(16384, 1) == 16);
  CHECK(share_pipe_pages(16384, 4) == 8);
  CHECK(share_pipe_pages(16384, 64) == 0);
  CHECK(share_pipe_pages(256, 1) == 0);
  CHECK(share_pipe_pages(0, 64) == 16);
}

TEST_CASE("this process has a processor and open descriptors") {
  CHECK(usable_processors() >= 1);
  CHECK(open_descriptors() >= 3);
}
