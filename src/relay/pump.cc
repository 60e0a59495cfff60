// Pump: fill, drain, fill, drain. See splice(2); the turn's rules stand in ARCHITECTURE.md, "How bytes move".
#include "usher/relay/pump.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace usher {
namespace {

/// What one fill asks for. A pipe of 16 slots seldom takes more than this; asking for more costs nothing.
constexpr std::size_t fill_bytes_max = 1U << 20;
constexpr std::size_t copy_bytes_max = 16U << 10;

bool would_block(int code) noexcept { return code == EAGAIN || code == EINTR; }

/// splice(2) stops in front of an urgent byte (tcp_read_sock), and answers as if the socket were dry, or over when a FIN
/// stands behind it. recv(2) steps over the byte. Urgent bytes themselves aren't passed on (RFC 6093 advises against them).
bool at_urgent_mark(int fd) noexcept {
  int at_mark = 0;
  return ::ioctl(fd, SIOCATMARK, &at_mark) == 0 && at_mark != 0;
}

}  // namespace

PumpResult Pump::run(Session& session, std::uint64_t budget_bytes) noexcept {
  PumpResult result;
  const bool was_open = session.from(Side::client).open() && session.from(Side::backend).open();
  for (bool moved = true; moved;) {
    if (result.filled >= budget_bytes) {
      result.again = true;
      break;
    }
    moved = false;
    for (const Side source : {Side::client, Side::backend}) {
      if (step(session, source, result) == Step::moved) moved = true;
    }
  }
  for (const Side side : {Side::client, Side::backend}) {
    if (session.peer(side).hung) look_into_hangup(session, side, result);
  }
  result.half_closed = was_open && !(session.from(Side::client).open() && session.from(Side::backend).open());
  if (session.from(Side::client).over() && session.from(Side::backend).over()) {
    result.again = false;
    result.end = session.peer(Side::client).broken    ? PumpEnd::client_broken
                 : session.peer(Side::backend).broken ? PumpEnd::backend_broken
                                                      : PumpEnd::served;
  }
  return result;
}

Pump::Step Pump::step(Session& session, Side source, PumpResult& result) noexcept {
  Flow& flow = session.from(source);
  const Peer& from = session.peer(source);
  const Peer& to = session.peer(other(source));
  switch (flow.want(from.readable, to.writable)) {
    case Want::fill: return fill(session, source, result);
    case Want::drain: return drain(session, source, result);
    case Want::finish:
      // A broken source ends without a FIN: closing the session will pass its reset on.
      if (!from.broken && ::shutdown(to.fd, SHUT_WR) != 0) mark_broken(session, other(source), result);
      if (!flow.over()) flow.finished();
      drop_pipe(session, source);
      return Step::moved;
    case Want::source:
    case Want::target:
    case Want::nothing: return Step::waits;
  }
  return Step::waits;
}

Pump::Step Pump::fill(Session& session, Side source, PumpResult& result) noexcept {
  Flow& flow = session.from(source);
  PipeId& pipe = session.pipes[index(source)];
  if (pipe == PipeId::none) {
    pipe = pipes_.lease();
    if (pipe == PipeId::none) return copy(session, source, result);
  }
  const ssize_t got = ::splice(session.peer(source).fd, nullptr, pipes_.write_end(pipe).number(), nullptr, fill_bytes_max,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got > 0) {
    flow.filled(static_cast<std::uint32_t>(got));
    result.filled += static_cast<std::uint64_t>(got);
    return Step::moved;
  }
  const int code = got == 0 ? 0 : errno;
  drop_pipe(session, source);
  if ((code == 0 || code == EAGAIN) && at_urgent_mark(session.peer(source).fd)) return copy(session, source, result);
  if (got == 0) {
    flow.source_ended();
    return Step::moved;
  }
  if (code == EINTR) return Step::moved;
  if (would_block(code)) {
    session.peer(source).readable = false;
    return Step::waits;
  }
  source_failed(session, source, result);
  return Step::moved;
}

Pump::Step Pump::drain(Session& session, Side source, PumpResult& result) noexcept {
  Flow& flow = session.from(source);
  Peer& target = session.peer(other(source));
  const PipeId pipe = session.pipes[index(source)];
  const ssize_t put =
      ::splice(pipes_.read_end(pipe).number(), nullptr, target.fd, nullptr, flow.piped(), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (put > 0) {
    const auto bytes = static_cast<std::uint64_t>(put);
    flow.drained(static_cast<std::uint32_t>(put));
    result.drained += bytes;
    (source == Side::client ? result.to_backend : result.to_client) += bytes;
    return Step::moved;
  }
  if (put < 0 && errno == EINTR) return Step::moved;
  if (put < 0 && would_block(errno)) {
    target.writable = false;
    return Step::waits;
  }
  mark_broken(session, other(source), result);
  return Step::moved;
}

/// Without a pipe to be had: look at the bytes without taking them, send, and take off what was sent. Nothing has to rest
/// anywhere, so this works with no memory at all (recv(2): MSG_PEEK; tcp(7): MSG_TRUNC).
Pump::Step Pump::copy(Session& session, Side source, PumpResult& result) noexcept {
  Peer& from = session.peer(source);
  Peer& to = session.peer(other(source));
  if (!to.writable) return Step::waits;
  std::array<char, copy_bytes_max> buffer;
  const ssize_t seen = ::recv(from.fd, buffer.data(), buffer.size(), MSG_PEEK | MSG_DONTWAIT);
  if (seen == 0) {
    session.from(source).source_ended();
    return Step::moved;
  }
  if (seen < 0) {
    if (errno == EINTR) return Step::moved;
    if (would_block(errno)) {
      from.readable = false;
      return Step::waits;
    }
    source_failed(session, source, result);
    return Step::moved;
  }
  const ssize_t sent = ::send(to.fd, buffer.data(), static_cast<std::size_t>(seen), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno == EINTR) return Step::moved;
    if (would_block(errno)) {
      to.writable = false;
      return Step::waits;
    }
    mark_broken(session, other(source), result);
    return Step::moved;
  }
  const auto bytes = static_cast<std::uint64_t>(sent);
  Flow& flow = session.from(source);
  flow.filled(static_cast<std::uint32_t>(sent));
  flow.drained(static_cast<std::uint32_t>(sent));
  // What was peeked at is there to be taken; were it not, the same bytes would be sent twice.
  if (::recv(from.fd, nullptr, static_cast<std::size_t>(sent), MSG_TRUNC | MSG_DONTWAIT) != sent) {
    source_failed(session, source, result);
  }
  result.filled += bytes;
  result.drained += bytes;
  ++result.copies;
  (source == Side::client ? result.to_backend : result.to_client) += bytes;
  return Step::moved;
}

/// POLLERR and POLLHUP also stand for an orderly end of both directions, which the flows meet by themselves: so the socket
/// is asked for its error. A flow that waits for a slow target would not meet a reset for as long as that takes.
void Pump::look_into_hangup(Session& session, Side side, PumpResult& result) noexcept {
  Peer& peer = session.peer(side);
  peer.hung = false;
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(peer.fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0) return;
  mark_broken(session, side, result);
  result.again = true;  // what it had sent is still to be read, and no report will come for it
}

void Pump::mark_broken(Session& session, Side side, PumpResult& result) noexcept {
  session.peer(side).broken = true;
  // What goes to it has lost its target. What came from it is still read to its end: the kernel keeps what had arrived
  // before the reset, and answers 0 behind it.
  const Side toward = other(side);
  const std::uint32_t lost = session.from(toward).abandon();
  result.discarded += lost;
  if (PipeId& pipe = session.pipes[index(toward)]; pipe != PipeId::none) {
    if (lost != 0) {
      pipes_.scrap(pipe);
    } else {
      pipes_.give_back(pipe);
    }
    pipe = PipeId::none;
  }
  session.peer(side).readable = true;
}

void Pump::source_failed(Session& session, Side source, PumpResult& result) noexcept {
  mark_broken(session, source, result);
  session.from(source).source_ended();
}

void Pump::drop_pipe(Session& session, Side source) noexcept {
  PipeId& pipe = session.pipes[index(source)];
  if (pipe == PipeId::none) return;
  pipes_.give_back(pipe);
  pipe = PipeId::none;
}

std::uint64_t Pump::release_pipes(Session& session) noexcept {
  std::uint64_t lost = 0;
  for (const Side source : {Side::client, Side::backend}) {
    PipeId& pipe = session.pipes[index(source)];
    const std::uint32_t rest = session.from(source).abandon();
    lost += rest;
    if (pipe == PipeId::none) continue;
    if (rest != 0) {
      pipes_.scrap(pipe);
    } else {
      pipes_.give_back(pipe);
    }
    pipe = PipeId::none;
  }
  return lost;
}

}  // namespace usher
