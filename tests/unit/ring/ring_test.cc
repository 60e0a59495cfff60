// Ring: operations answer with what they were given, and submitted = completed + in flight throughout.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "usher/ring/ring.h"

using namespace usher;
using namespace std::chrono_literals;

namespace {

std::unique_ptr<Ring> new_ring(std::uint32_t entries = 8) {
  auto ring = Ring::create(entries);
  if (!ring) FAIL(ring.error().message);
  return std::move(*ring);
}

void signal(const Fd& event) {
  const std::uint64_t one = 1;
  REQUIRE(::write(event.number(), &one, sizeof one) == sizeof one);
}

/// The answers that are there, or come within a second.
std::vector<Completion> answers(Ring& ring, std::optional<Duration> patience = 1s) {
  REQUIRE(ring.wait(patience).has_value());
  std::array<Completion, 64> batch;
  const std::size_t count = ring.reap(batch);
  return {batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace

TEST_CASE("a multishot poll answers each event, and is completed only by its last answer") {
  const auto ring = new_ring();
  const Fd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  ring->poll_multishot(event, POLLIN, 7);
  for (int round = 0; round < 3; ++round) {
    signal(event);
    const auto seen = answers(*ring);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].user == 7);
    CHECK(seen[0].more);
    CHECK((seen[0].result & POLLIN) != 0);
    CHECK(ring->tally().in_flight() == 1);
  }
  ring->cancel(7, 8);
  std::vector<Completion> last;
  while (last.size() < 2) {
    const auto more = answers(*ring);
    REQUIRE_FALSE(more.empty());
    last.insert(last.end(), more.begin(), more.end());
  }
  const auto poll = std::ranges::find(last, std::uint64_t{7}, &Completion::user);
  REQUIRE(poll != last.end());
  CHECK(poll->result == -ECANCELED);
  CHECK_FALSE(poll->more);
  CHECK(ring->tally().submitted == 2);
  CHECK(ring->tally().completed == 2);
  CHECK(ring->tally().in_flight() == 0);
}

TEST_CASE("cancelling what isn't there says so") {
  const auto ring = new_ring();
  ring->cancel(1234, 9);
  const auto seen = answers(*ring);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].user == 9);
  CHECK(seen[0].result == -ENOENT);
}

TEST_CASE("a wait without patience doesn't wait, and one with patience ends in time") {
  const auto ring = new_ring();
  CHECK(answers(*ring, Duration::zero()).empty());
  const TimePoint before = Clock::now();
  CHECK(answers(*ring, 20ms).empty());
  CHECK(Clock::now() - before >= 15ms);
}

TEST_CASE("a wait without patience still fetches what is done") {
  const auto ring = new_ring();
  const Fd event(::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
  ring->poll_multishot(event, POLLIN, 3);
  CHECK(answers(*ring, Duration::zero()).size() == 1);
}

TEST_CASE("far more operations than the queue holds are all submitted and all answered") {
  const auto ring = new_ring(4);
  for (std::uint64_t i = 0; i < 500; ++i) ring->cancel(100000 + i, i);
  std::size_t seen = 0;
  while (ring->tally().in_flight() != 0) {
    const auto more = answers(*ring);
    REQUIRE_FALSE(more.empty());
    seen += more.size();
  }
  CHECK(seen == 500);
  CHECK(ring->tally().submitted == 500);
}

TEST_CASE("a connect that is refused answers with its errno") {
  const auto ring = new_ring();
  Fd bound(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(bound.number(), any.data(), any.length()) == 0);  // bound, and not listening
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  REQUIRE(::getsockname(bound.number(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  const Endpoint to = Endpoint::from(reinterpret_cast<sockaddr*>(&address), length);
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  ring->connect(socket, to, 5);
  const auto seen = answers(*ring);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].user == 5);
  CHECK(seen[0].result == -ECONNREFUSED);
}
