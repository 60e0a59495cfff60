// Ring: operations answer with what they were given, and submitted = completed + in flight throughout.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
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

namespace {

struct Pair {
  Fd near;
  Fd far;
};

Pair socket_pair() {
  std::array<int, 2> ends{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

/// A connected pair over TCP, for what only TCP does.
Pair tcp_pair() {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(listener.number(), any.data(), any.length()) == 0);
  REQUIRE(::listen(listener.number(), 1) == 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  REQUIRE(::getsockname(listener.number(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  Pair pair;
  pair.near = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(pair.near.number(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  pair.far = Fd(::accept(listener.number(), nullptr, nullptr));
  REQUIRE(pair.far.open());
  return pair;
}

void write_text(const Fd& socket, std::string_view text) {
  REQUIRE(::write(socket.number(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace

TEST_CASE("what is sent is received, and a receive after the end answers zero") {
  const auto ring = new_ring();
  Pair pair = socket_pair();
  const std::string_view text = "as it was sent";
  std::array<std::byte, 64> into{};
  ring->receive(pair.far, into, Ring::Copy::wanted, 1);
  ring->send(pair.near, std::as_bytes(std::span(text)), 2);
  std::vector<Completion> seen;
  while (seen.size() < 2) {
    const auto more = answers(*ring);
    REQUIRE_FALSE(more.empty());
    seen.insert(seen.end(), more.begin(), more.end());
  }
  for (const Completion& answer : seen) {
    CHECK(answer.result == static_cast<int>(text.size()));
    CHECK(answer.buffer == -1);
    CHECK_FALSE(answer.more);
  }
  CHECK(text_of(std::span(into).first(text.size())) == text);
  pair.near.reset();
  ring->receive(pair.far, into, Ring::Copy::wanted, 3);
  const auto last = answers(*ring);
  REQUIRE(last.size() == 1);
  CHECK(last[0].result == 0);
  CHECK(ring->tally().in_flight() == 0);
}

TEST_CASE("a send is answered when all of it is sent, however slowly the peer reads") {
  const auto ring = new_ring();
  const Pair pair = socket_pair();
  const std::vector<std::byte> much(4 << 20, std::byte{'x'});
  ring->send(pair.near, much, 1);
  std::vector<char> into(1 << 16);
  std::size_t taken = 0;
  std::vector<Completion> seen;
  while (taken < much.size()) {
    for (const Completion& answer : answers(*ring, Duration::zero())) seen.push_back(answer);
    const ssize_t got = ::recv(pair.far.number(), into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) taken += static_cast<std::size_t>(got);
  }
  if (seen.empty()) seen = answers(*ring);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].result == static_cast<int>(much.size()));
}

TEST_CASE("a send to one who has gone answers EPIPE, and raises no signal") {
  const auto ring = new_ring();
  Pair pair = socket_pair();
  pair.far.reset();
  const std::array<std::byte, 4> bytes{};
  ring->send(pair.near, bytes, 1);
  const auto seen = answers(*ring);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].result == -EPIPE);
}

TEST_CASE("bytes that are dropped leave the socket and touch no memory") {
  const auto ring = new_ring();
  const Pair pair = tcp_pair();
  write_text(pair.far, "dropped");
  std::array<std::byte, 16> into{};
  ring->receive(pair.near, into, Ring::Copy::dropped, 1);
  const auto seen = answers(*ring);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].result == 7);
  CHECK(into == std::array<std::byte, 16>{});
  write_text(pair.far, "kept");
  ring->receive(pair.near, into, Ring::Copy::wanted, 2);
  REQUIRE(answers(*ring).size() == 1);
  CHECK(text_of(std::span(into).first(4)) == "kept");
}

TEST_CASE("provided buffers: one receive answers many times, says where the bytes are, and ends with the peer") {
  const auto ring = new_ring();
  REQUIRE(ring->provide_buffers(4, 32));
  Pair pair = socket_pair();
  ring->receive_provided(pair.near, Ring::Shots::many, 1);
  for (int round = 0; round < 20; ++round) {  // more often than there are buffers
    const std::string text = "round " + std::to_string(round);
    write_text(pair.far, text);
    const auto seen = answers(*ring);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].more);
    REQUIRE(seen[0].buffer >= 0);
    CHECK(text_of(ring->provided(seen[0])) == text);
    ring->give_back(seen[0]);
  }
  CHECK(ring->tally().in_flight() == 1);
  pair.far.reset();
  const auto last = answers(*ring);
  REQUIRE(last.size() == 1);
  CHECK(last[0].result == 0);
  CHECK_FALSE(last[0].more);
  CHECK(ring->tally().in_flight() == 0);
}

TEST_CASE("provided buffers: one shot is one shot, and where none is left the receive says ENOBUFS") {
  const auto ring = new_ring();
  REQUIRE(ring->provide_buffers(1, 8));
  const Pair pair = socket_pair();
  write_text(pair.far, "12345678rest");
  ring->receive_provided(pair.near, Ring::Shots::one, 1);
  const auto first = answers(*ring);
  REQUIRE(first.size() == 1);
  CHECK(first[0].result == 8);
  CHECK_FALSE(first[0].more);
  ring->receive_provided(pair.near, Ring::Shots::one, 2);
  const auto none = answers(*ring);
  REQUIRE(none.size() == 1);
  CHECK(none[0].result == -ENOBUFS);
  ring->give_back(first[0]);
  ring->receive_provided(pair.near, Ring::Shots::one, 3);
  const auto rest = answers(*ring);
  REQUIRE(rest.size() == 1);
  CHECK(text_of(ring->provided(rest[0])) == "rest");
}

TEST_CASE("shutdown ends a receive that is in flight") {
  const auto ring = new_ring();
  const Pair pair = tcp_pair();
  std::array<std::byte, 8> into{};
  ring->receive(pair.near, into, Ring::Copy::wanted, 1);
  CHECK(answers(*ring, Duration::zero()).empty());
  REQUIRE(::shutdown(pair.near.number(), SHUT_RDWR) == 0);
  const auto seen = answers(*ring);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].result == 0);
}
