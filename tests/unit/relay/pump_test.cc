// Pump: what it leaves in a socket and what it would still be woken for, with no worker around it.
#include "usher/relay/pump.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include <linux/tcp.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "usher/base/endpoint.h"

using namespace usher;

namespace {

constexpr int buffer_bytes = 200'000;  // the kernel takes twice that; more than any test lets rest
constexpr int mark_bytes = 512 << 10;
constexpr std::uint64_t no_budget = std::uint64_t{1} << 40;

/// Two ends of a connection: `near` is the pump's, non-blocking; `far` is who it serves.
struct Wire {
  Fd far;
  Fd near;
};

Wire wire() {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::setsockopt(listener.number(), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes) == 0);
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(listener.number(), any.data(), any.length()) == 0);
  REQUIRE(::listen(listener.number(), 1) == 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  REQUIRE(::getsockname(listener.number(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  Wire made{Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), Fd{}};
  REQUIRE(::setsockopt(made.far.number(), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes) == 0);
  REQUIRE(::connect(made.far.number(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  made.near = Fd(::accept4(listener.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  REQUIRE(made.near.open());
  REQUIRE(::setsockopt(made.near.number(), SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes) == 0);
  return made;
}

/// A session between two wires. The readiness of its ends is the test's to say.
struct Relay {
  explicit Relay(Mover mover, std::uint16_t pipes_max = 20, std::uint16_t large_max = 1)
      : pipes(pipes_max, large_max), pump(pipes, mover) {
    ::signal(SIGPIPE, SIG_IGN);
    session.stage = Stage::relaying;
    for (const Side side : {Side::client, Side::backend}) {
      session.peer(side).fd = (side == Side::client ? client : backend).near.number();
      session.peer(side).writable = true;
    }
  }
  ~Relay() { pump.release_pipes(session); }

  /// Runs until nothing can be done without a report; what is handed over is done here, as the ring would.
  PumpResult run() {
    PumpResult all;
    for (int round = 0; round < 1000; ++round) {
      const PumpResult result = pump.run(session, no_budget);
      all.end = result.end;
      all.drained += result.drained;
      all.half_closed = all.half_closed || result.half_closed;
      for (std::uint32_t i = 0; i < result.handover_count; ++i) {
        const Handover& handover = result.handovers[i];
        const ssize_t moved = ::splice(handover.from, nullptr, handover.to, nullptr, handover.bytes_max, SPLICE_F_NONBLOCK);
        const PumpResult answered = pump.moved(session, handover.source, static_cast<std::int32_t>(moved < 0 ? -errno : moved));
        all.drained += answered.drained;
        all.half_closed = all.half_closed || answered.half_closed;
      }
      if (result.handover_count == 0 && !result.again) return all;
    }
    FAIL("the pump comes to no rest");
    return all;
  }

  Wire client = wire();
  Wire backend = wire();
  Session session;
  PipePool pipes;
  Pump pump;
};

void send_all(const Fd& socket, std::string_view text, int flags = 0) {
  REQUIRE(::send(socket.number(), text.data(), text.size(), MSG_NOSIGNAL | flags) == static_cast<ssize_t>(text.size()));
}

/// Waits until so many bytes have ever arrived, whether they were read or not.
void await_arrival(const Fd& socket, std::uint64_t bytes) {
  for (int tries = 0; tries < 10'000; ++tries) {
    tcp_info told{};
    socklen_t length = sizeof told;
    REQUIRE(::getsockopt(socket.number(), IPPROTO_TCP, TCP_INFO, &told, &length) == 0);
    if (told.tcpi_bytes_received >= bytes) return;
    pollfd nothing{.fd = -1, .events = 0, .revents = 0};
    ::poll(&nothing, 1, 1);
  }
  FAIL("the bytes don't arrive");
}

void await_event(const Fd& socket, short event) {
  pollfd wait{.fd = socket.number(), .events = event, .revents = 0};
  REQUIRE(::poll(&wait, 1, 10'000) == 1);
}

void reset(Fd& socket) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  REQUIRE(::setsockopt(socket.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  socket.reset();
}

int unread(const Fd& socket) {
  int bytes = -1;
  REQUIRE(::ioctl(socket.number(), SIOCINQ, &bytes) == 0);
  return bytes;
}

int mark(const Fd& socket) {
  int bytes = -1;
  socklen_t length = sizeof bytes;
  REQUIRE(::getsockopt(socket.number(), SOL_SOCKET, SO_RCVLOWAT, &bytes, &length) == 0);
  return bytes;
}

void make_torrent(Relay& relay) {
  REQUIRE(::setsockopt(relay.client.near.number(), SOL_SOCKET, SO_RCVLOWAT, &mark_bytes, sizeof mark_bytes) == 0);
  relay.session.peer(Side::client).pace = Pace::torrent;
}

}  // namespace

TEST_CASE("bulk behind an urgent byte is fetched to its end, whoever splices, and also when the target has to be waited for") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  const bool target_ready = GENERATE(true, false);
  CAPTURE(mover, target_ready);
  Relay relay(mover);
  send_all(relay.client.far, "!", MSG_OOB);
  send_all(relay.client.far, std::string(100'000, 'x'));
  await_arrival(relay.client.near, 100'001);
  Peer& source = relay.session.peer(Side::client);
  source.pace = Pace::bulk;
  source.readable = true;  // the last report that there will be
  relay.session.peer(Side::backend).writable = target_ready;
  std::uint64_t drained = relay.run().drained;
  if (!target_ready) {
    CHECK(drained == 0);
    relay.session.peer(Side::backend).writable = true;
    drained += relay.run().drained;
  }
  CHECK(drained == 100'000);
}

TEST_CASE("only a torrent has a mark: one that an urgent byte made bulk again would sleep through what is smaller") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  Relay relay(mover);
  make_torrent(relay);
  send_all(relay.client.far, "!", MSG_OOB);
  send_all(relay.client.far, std::string(64 << 10, 'x'));
  await_arrival(relay.client.near, (64 << 10) + 1);
  relay.session.peer(Side::client).readable = true;
  CHECK(relay.run().drained == 64 << 10);
  CHECK((relay.session.peer(Side::client).pace == Pace::torrent || mark(relay.client.near) == 1));
}

TEST_CASE("a torrent whose pipe is full before its socket is empty goes on by itself") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  Relay relay(mover, 1, 0);
  // The only one is small, as the kernel makes them past the user's ration.
  const PipeId small = relay.pipes.lease(PipeSize::usual);
  REQUIRE(::fcntl(relay.pipes.write_end(small).number(), F_SETPIPE_SZ, 32 << 10) == 32 << 10);
  relay.pipes.give_back(small);
  make_torrent(relay);
  send_all(relay.client.far, std::string(150'000, 'x'));
  await_arrival(relay.client.near, 150'000);
  relay.session.peer(Side::client).readable = true;
  CHECK(relay.run().drained > 0);
  CHECK(unread(relay.client.near) < 64 << 10);
}

TEST_CASE("behind a FIN that was reported nothing is waited for, in a torrent neither") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  Relay relay(mover);
  make_torrent(relay);
  send_all(relay.client.far, std::string(100'000, 'x'));
  ::shutdown(relay.client.far.number(), SHUT_WR);
  await_event(relay.client.near, POLLRDHUP);
  relay.session.peer(Side::client).readable = true;
  relay.session.peer(Side::client).ending = true;
  const PumpResult result = relay.run();
  CHECK(result.drained == 100'000);
  CHECK(result.half_closed);
  CHECK(relay.session.from(Side::client).over());
}

TEST_CASE("the last bytes before a reset that was noticed first don't wait for a FIN that won't come") {
  Relay relay(Mover::worker);
  send_all(relay.client.far, "last word");
  await_arrival(relay.client.near, 9);
  reset(relay.client.far);
  await_event(relay.client.near, POLLRDHUP);
  Peer& source = relay.session.peer(Side::client);
  source.readable = source.hung = source.ending = true;
  relay.session.peer(Side::backend).writable = false;
  CHECK(relay.run().end == PumpEnd::open);
  CHECK(source.broken);
  relay.session.peer(Side::backend).writable = true;
  CHECK(relay.run().end == PumpEnd::client_broken);
  reset(relay.backend.near);  // as the worker passes the reset on
  await_event(relay.backend.far, POLLIN);
  char heard[16];
  CHECK(::recv(relay.backend.far.number(), heard, sizeof heard, MSG_DONTWAIT) == 9);
}
