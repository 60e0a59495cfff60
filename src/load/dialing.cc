// Loader: the life of a connection, from the first dial to the last answer of the kernel.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "load/loader.h"
#include "load/tag.h"

namespace usher::load {
namespace {

constexpr Duration back_off_first = std::chrono::milliseconds(20);
constexpr unsigned dials_a_turn_max = 64;
constexpr unsigned back_off_doublings_max = 6;  // to 1.3 s

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

LoadError kind_of_connect(int code) {
  switch (code) {
    case ECONNREFUSED:
      return LoadError::connect_refused;
    case ETIMEDOUT:
      return LoadError::connect_timeout;
    case ECONNRESET:
      return LoadError::reset;
    case EADDRNOTAVAIL:
    case EADDRINUSE:
    case EAGAIN:  // no ephemeral port, in the words of older kernels
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return LoadError::local;
    default:
      return LoadError::connect_unreachable;
  }
}

/// 0, or an errno.
int prepare_socket(Fd& socket, const LoadPlan& plan, std::uint64_t turn) {
  socket = Fd(::socket(plan.target.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.open()) return errno;
  const int on = 1;
  ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (plan.sources.empty()) return 0;
  // The port is chosen with the connect, where the whole four-tuple counts (ip(7)): bind alone would run out of ports
  // far sooner.
  ::setsockopt(socket.number(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  const Endpoint& source = plan.sources[turn % plan.sources.size()];
  return ::bind(socket.number(), source.data(), source.length()) == 0 ? 0 : errno;
}

}  // namespace

void Loader::revive(std::uint32_t slot, TimePoint now) {
  Connection& connection = connections_[slot];
  connection.deadline = TimePoint::max();
  if (connection.life == Life::over) return;
  if (pacer_ && !keeps_connections()) {
    free_.push(slot);  // dialled when a request is due
    return;
  }
  if (dial_pacer_ && to_dial_.empty()) dial_pacer_->skip_to(now);
  to_dial_.push(slot);
}

bool Loader::dial_due(TimePoint now) const noexcept {
  return !to_dial_.empty() && (!dial_pacer_ || dial_pacer_->due(now));
}

void Loader::dial_queued(TimePoint now) {
  // A few a turn: each connect is timed from here, and shouldn't be charged for thousands of others in front of it.
  for (unsigned dialled = 0; dialled < dials_a_turn_max && dial_due(now); ++dialled) {
    if (dial_pacer_) dial_pacer_->take();
    const std::uint32_t slot = to_dial_.pop();
    Connection& connection = connections_[slot];
    // Where each connection is for one request, or a few, the first waits for it from here on.
    if (exchanges() && !keeps_connections() && !connection.bound) {
      if (!take_budget()) {
        connection.life = Life::over;
        continue;
      }
      connection.bound = true;
      connection.wanted = now;
    }
    dial(slot, now);
  }
}

void Loader::dial(std::uint32_t slot, TimePoint now) {
  Connection& connection = connections_[slot];
  const int problem = prepare_socket(connection.socket, plan_, next_source_++);
  connection.asked = 0;
  connection.dialled = now;
  if (connection.socket.open()) ++open_;
  if (problem != 0) {
    report_.errors.last_local_errno = problem;
    fail(slot, LoadError::local, now);
    return;
  }
  connection.stage = Stage::dialing;
  connection.deadline = now + plan_.timeout;
  ++connection.in_flight;
  ring_->connect(connection.socket, plan_.target, LoadTag{LoadOp::connect, slot}.pack());
}

void Loader::on_connected(std::uint32_t slot, int result, TimePoint now) {
  Connection& connection = connections_[slot];
  if (connection.stage == Stage::closing) {
    if (connection.in_flight == 0) on_closed(slot, now);
    return;
  }
  if (result < 0) {
    const LoadError kind = kind_of_connect(-result);
    (kind == LoadError::local ? report_.errors.last_local_errno : report_.errors.last_connect_errno) = -result;
    fail(slot, kind, now);
    return;
  }
  ++report_.total.connects;
  if (phase_ == Phase::measuring) report_.connect_latency.add(now - connection.dialled);
  switch (plan_.mode) {
    case LoadMode::stream:
    case LoadMode::idle:
      start_bulk(slot);
      break;
    case LoadMode::echo:
    case LoadMode::connect:
    case LoadMode::http:
      if (connection.bound) {
        ask(slot, now);
      } else {
        free_up(slot, now);
      }
      break;
  }
}

void Loader::fail(std::uint32_t slot, LoadError kind, TimePoint now) {
  Connection& connection = connections_[slot];
  report_.errors.count(kind);
  connection.failures = static_cast<std::uint8_t>(std::min(connection.failures + 1, 255));
  hang_up(slot, now);
}

void Loader::hang_up(std::uint32_t slot, TimePoint now) {
  Connection& connection = connections_[slot];
  if (connection.bound) {
    connection.bound = false;
    --outstanding_;
  }
  if (connection.in_flight == 0) {
    on_closed(slot, now);
    return;
  }
  if (connection.stage == Stage::dialing) {
    ring_->cancel(LoadTag{LoadOp::connect, slot}.pack(), LoadTag{LoadOp::cancel, slot}.pack());
  } else {
    ::shutdown(connection.socket.number(), SHUT_RDWR);
  }
  connection.stage = Stage::closing;
}

void Loader::on_closed(std::uint32_t slot, TimePoint now) {
  Connection& connection = connections_[slot];
  if (connection.socket.open()) --open_;
  connection.socket.reset();
  connection.stage = Stage::resting;
  connection.receiving = false;
  if (connection.failures == 0) {
    revive(slot, now);
    return;
  }
  const unsigned doublings = std::min<unsigned>(connection.failures - 1U, back_off_doublings_max);
  const Duration most = back_off_first * (1 << doublings);
  // Half of it at random, so that those who failed together don't come back together.
  connection.deadline =
      now + most / 2 + Duration(static_cast<std::int64_t>(rng_.below(static_cast<std::uint64_t>(most.count() / 2))));
}

}  // namespace usher::load
