// Pump: fill, drain, fill, drain. See splice(2); the turn's rules stand in ARCHITECTURE.md, "How bytes move".
#include "usher/relay/pump.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace usher {
namespace {

/// What one fill asks for: what a large pipe takes. A smaller one takes what it can, and asking for more costs nothing.
constexpr std::size_t fill_bytes_max = 1U << 20;
/// A turn of less is copied: one recv(2) and one send(2) cost less than two splices and a pipe.
constexpr std::size_t copy_bytes_max = 64U << 10;
/// A direction with so many fills in a row below this isn't bulk any more.
constexpr std::size_t bulk_bytes_min = 16 << 10;
constexpr std::uint8_t small_fills_max = 8;

/// Fits into one segment of any path (RFC 9293, 3.7.1).
constexpr std::size_t small_message_bytes_max = 536;
/// A direction that has brought so much in one go is a torrent: rare enough that its end may come half a millisecond later.
constexpr std::uint32_t torrent_after_bytes = 16U << 20;
/// The kernel wakes for a torrent when so much is there. Half of a large pipe, so that a turn takes it whole and what comes meanwhile.
constexpr int torrent_mark_bytes = 512 << 10;

void wake_at(int fd, int bytes) noexcept { ::setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes); }

/// What waits in a socket, up to an urgent byte (tcp(7), SIOCINQ).
std::size_t unread(int fd) noexcept {
  int bytes = 0;
  return ::ioctl(fd, SIOCINQ, &bytes) == 0 && bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

/// Nothing waits for more to come, from now on; what waited already, because of MSG_MORE, leaves at once (tcp(7)).
void set_prompt(int fd) noexcept {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool would_block(int code) noexcept { return code == EAGAIN || code == EINTR; }

/// splice(2) stops in front of an urgent byte (tcp_read_sock), and answers as if the socket were dry, or over when a FIN
/// stands behind it. recv(2) steps over the byte. Urgent bytes themselves aren't passed on (RFC 6093 advises against them).
bool at_urgent_mark(int fd) noexcept {
  int at_mark = 0;
  return ::ioctl(fd, SIOCATMARK, &at_mark) == 0 && at_mark != 0;
}

}  // namespace

Pump::Pump(PipePool& pipes, Mover bulk_mover)
    : pipes_(pipes), bulk_mover_(bulk_mover), buffer_(std::make_unique_for_overwrite<char[]>(copy_bytes_max)) {}

PumpResult Pump::run(Session& session, std::uint64_t budget_bytes) noexcept {
  PumpResult result;
  const bool was_whole = session.whole();
  for (bool moved = true; moved;) {
    if (result.drained >= budget_bytes) {
      result.again = true;
      break;
    }
    moved = false;
    for (const Side source : {Side::client, Side::backend}) {
      if (step(session, source, result) == Step::moved) moved = true;
    }
  }
  const auto over = [&] { return session.from(Side::client).over() && session.from(Side::backend).over(); };
  for (const Side side : {Side::client, Side::backend}) {
    if (session.peer(side).hung && !over()) look_into_hangup(session, side, result);
  }
  for (const Peer& peer : session.peers) result.torrent = result.torrent || peer.pace == Pace::torrent;
  result.half_closed = was_whole && !session.whole();
  if (over()) {
    result.again = false;
    result.end = session.peer(Side::client).broken    ? PumpEnd::client_broken
                 : session.peer(Side::backend).broken ? PumpEnd::backend_broken
                                                      : PumpEnd::served;
  }
  return result;
}

Pump::Step Pump::step(Session& session, Side source, PumpResult& result) noexcept {
  if (session.moves[index(source)] != Move::none) return Step::waits;
  Flow& flow = session.from(source);
  const Peer& from = session.peer(source);
  const Peer& to = session.peer(other(source));
  switch (flow.want(from.readable, to.writable)) {
    case Want::fill: return from.pace != Pace::calm ? fill(session, source, result) : copy(session, source, result);
    case Want::drain: return drain(session, source, result);
    case Want::finish:
      // A broken source ends without a FIN: closing the session will pass its reset on. Where the other direction is over,
      // closing passes the FIN on as well.
      if (from.broken) {
        if (from.ending) set_prompt(to.fd);  // the FIN that the last bytes may wait for won't come
      } else if (!session.from(other(source)).over() && ::shutdown(to.fd, SHUT_WR) != 0) {
        mark_broken(session, other(source), result);
      }
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
  // In front of an urgent byte a fill ends as a copy, which waits for the target; asked again at once, the ring would spin.
  if (bulk_mover_ == Mover::ring && !session.peer(other(source)).writable) return Step::waits;
  PipeId& pipe = session.pipes[index(source)];
  if (pipe == PipeId::none) {
    pipe = pipes_.lease(PipeSize::large);
    if (pipe == PipeId::none) return peek_and_send(session, source, result);
  }
  if (bulk_mover_ == Mover::ring) return hand_over(session, source, Move::fill, result);
  const ssize_t got = ::splice(session.peer(source).fd, nullptr, pipes_.write_end(pipe).number(), nullptr, fill_bytes_max,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  return filled(session, source, got, errno, result);
}

/// What splice(2) answered to a fill, whoever called it.
Pump::Step Pump::filled(Session& session, Side source, ssize_t got, int code, PumpResult& result) noexcept {
  Flow& flow = session.from(source);
  Peer& from = session.peer(source);
  if (got > 0) {
    flow.filled(static_cast<std::uint32_t>(got));
    result.filled += static_cast<std::uint64_t>(got);
    learn(from, static_cast<std::size_t>(got));
    return Step::moved;
  }
  drop_pipe(session, source);
  if ((got == 0 || code == EAGAIN) && at_urgent_mark(from.fd)) return copy(session, source, result);
  return nothing_came(session, source, got == 0 ? 0 : code, result);
}

/// A first small message leaves at once without TCP_NODELAY (nothing is unacknowledged that Nagle's algorithm could wait for),
/// and for many a session it is the only one.
void Pump::before_send(Peer& to, std::size_t bytes) noexcept {
  if (to.prompt) return;
  if (!std::exchange(to.spoken_to, true) && bytes <= small_message_bytes_max) return;
  set_prompt(to.fd);
  to.prompt = true;
}

Pump::Step Pump::drain(Session& session, Side source, PumpResult& result) noexcept {
  before_send(session.peer(other(source)), session.from(source).piped());
  if (bulk_mover_ == Mover::ring && session.peer(source).pace != Pace::calm) return hand_over(session, source, Move::drain, result);
  const PipeId pipe = session.pipes[index(source)];
  const ssize_t put = ::splice(pipes_.read_end(pipe).number(), nullptr, session.peer(other(source)).fd, nullptr,
                               session.from(source).piped(), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  return drained(session, source, put, errno, result);
}

/// What splice(2) answered to a drain, whoever called it.
Pump::Step Pump::drained(Session& session, Side source, ssize_t put, int code, PumpResult& result) noexcept {
  if (put > 0) {
    count_drained(session, source, static_cast<std::size_t>(put), result);
    if (session.from(source).piped() == 0 && session.peer(source).pace == Pace::calm) drop_pipe(session, source);
    return Step::moved;
  }
  if (put < 0 && code == EINTR) return Step::moved;
  if (put < 0 && would_block(code)) {
    session.peer(other(source)).writable = false;
    return Step::waits;
  }
  mark_broken(session, other(source), result);
  return Step::moved;
}

/// One small fill says little: a burst has small pieces at its seams.
void Pump::learn(Peer& from, std::size_t got) noexcept {
  from.quiet = 0;
  if (got < bulk_bytes_min) {
    if (++from.small_fills == small_fills_max) calm(from);
    return;
  }
  from.small_fills = 0;
  // What came meanwhile can wait until it is worth a turn: the kernel will say when. Not so what a small pipe had no room for (a
  // sender whose window is full sends nothing that would report it), and behind a FIN nothing comes.
  if (from.pace == Pace::torrent) from.readable = got == fill_bytes_max || from.ending || unread(from.fd) >= got;
  if (from.pace != Pace::bulk) return;
  from.bulk_bytes += static_cast<std::uint32_t>(got);
  if (from.bulk_bytes < torrent_after_bytes) return;
  from.pace = Pace::torrent;
  wake_at(from.fd, torrent_mark_bytes);
}

void Pump::calm(Peer& from) noexcept {
  if (from.pace == Pace::torrent) wake_at(from.fd, 1);
  from.pace = Pace::calm;
  from.bulk_bytes = 0;
  from.small_fills = 0;
}

void Pump::calm_down(Session& session) noexcept {
  for (Peer& peer : session.peers) {
    if (peer.pace != Pace::torrent || ++peer.quiet == 1) continue;
    peer.readable = true;
    if (peer.quiet == torrent_quiet_max) calm(peer);
  }
}

/// The ring's answer and a poll's report may overtake each other: so the bit is cleared now, a report sets it again at any
/// time, and moved() only ever sets it.
Pump::Step Pump::hand_over(Session& session, Side source, Move move, PumpResult& result) const noexcept {
  const PipeId pipe = session.pipes[index(source)];
  Handover& handover = result.handovers[result.handover_count++];
  handover.source = source;
  if (move == Move::fill) {
    handover.from = session.peer(source).fd;
    handover.to = pipes_.write_end(pipe).number();
    handover.bytes_max = static_cast<std::uint32_t>(fill_bytes_max);
    session.peer(source).readable = false;
  } else {
    handover.from = pipes_.read_end(pipe).number();
    handover.to = session.peer(other(source)).fd;
    handover.bytes_max = session.from(source).piped();
    session.peer(other(source)).writable = false;
  }
  session.moves[index(source)] = move;
  return Step::waits;
}

PumpResult Pump::moved(Session& session, Side source, std::int32_t answer) noexcept {
  PumpResult result;
  const Move move = std::exchange(session.moves[index(source)], Move::none);
  const bool was_whole = session.whole();
  Peer& waited_for = session.peer(move == Move::fill ? source : other(source));
  bool& ready = move == Move::fill ? waited_for.readable : waited_for.writable;
  const bool reported = std::exchange(ready, true);  // unless what is made of the answer says otherwise
  const int code = answer < 0 ? -answer : 0;
  if (move == Move::fill) {
    filled(session, source, code == 0 ? answer : -1, code, result);
  } else {
    drained(session, source, code == 0 ? answer : -1, code, result);
  }
  ready = ready || reported;
  if (session.peer(other(source)).broken) abandon(session, source, result);
  result.half_closed = was_whole && !session.whole();
  return result;
}

/// Small turns: one recv(2) and one send(2) through the worker's own buffer. What the target doesn't take rests in a pipe,
/// like everything that rests; so the pipe is leased first. An answer shorter than what was asked for says "dry" by itself:
/// what arrives later makes a report of its own. Not so where an end is near, and not quite: recv(2) also stops in front of
/// an urgent byte, which nothing reports, so who calls run() makes sure a little later.
Pump::Step Pump::copy(Session& session, Side source, PumpResult& result) noexcept {
  Peer& from = session.peer(source);
  Peer& to = session.peer(other(source));
  if (!to.writable) return Step::waits;
  const PipeId pipe = pipes_.lease(PipeSize::usual);
  if (pipe == PipeId::none) return peek_and_send(session, source, result);
  const std::size_t asked = std::min<std::size_t>(copy_bytes_max, pipes_.capacity(pipe));
  const ssize_t got = ::recv(from.fd, buffer_.get(), asked, MSG_DONTWAIT);
  if (got <= 0) {
    const int code = errno;
    pipes_.give_back(pipe);
    return nothing_came(session, source, got == 0 ? 0 : code, result);
  }
  const bool whole = static_cast<std::size_t>(got) < asked;
  if (!whole && from.pace == Pace::calm) from.pace = Pace::bulk;  // a torrent that comes here for an urgent byte keeps its mark
  if (whole && !from.ending) {
    from.readable = false;
    result.unsure = true;
  }
  Flow& flow = session.from(source);
  flow.filled(static_cast<std::uint32_t>(got));
  result.filled += static_cast<std::uint64_t>(got);
  // Where a FIN was reported, the last bytes wait for it, to leave in one packet: shutdown(2) pushes both.
  const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (from.ending ? MSG_MORE : 0);
  before_send(to, static_cast<std::size_t>(got));
  const ssize_t sent = ::send(to.fd, buffer_.get(), static_cast<std::size_t>(got), flags);
  if (sent < 0 && !would_block(errno)) {
    pipes_.give_back(pipe);
    mark_broken(session, other(source), result);
    return Step::moved;
  }
  const std::size_t taken = sent < 0 ? 0 : static_cast<std::size_t>(sent);
  count_drained(session, source, taken, result);
  if (flow.piped() == 0) {
    pipes_.give_back(pipe);
    return Step::moved;
  }
  to.writable = false;
  session.pipes[index(source)] = pipe;
  // An empty pipe takes as much as its capacity says.
  if (::write(pipes_.write_end(pipe).number(), buffer_.get() + taken, flow.piped()) != static_cast<ssize_t>(flow.piped())) {
    mark_broken(session, other(source), result);
  }
  return Step::moved;
}

Pump::Step Pump::nothing_came(Session& session, Side source, int code, PumpResult& result) noexcept {
  if (code == 0) {
    session.from(source).source_ended();
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

/// Without a pipe to be had: look at the bytes without taking them, send, and take off what was sent. Nothing has to rest
/// anywhere, so this works with no memory at all (recv(2): MSG_PEEK; tcp(7): MSG_TRUNC).
Pump::Step Pump::peek_and_send(Session& session, Side source, PumpResult& result) noexcept {
  Peer& from = session.peer(source);
  Peer& to = session.peer(other(source));
  if (!to.writable) return Step::waits;
  const ssize_t seen = ::recv(from.fd, buffer_.get(), copy_bytes_max, MSG_PEEK | MSG_DONTWAIT);
  if (seen <= 0) return nothing_came(session, source, seen == 0 ? 0 : errno, result);
  before_send(to, static_cast<std::size_t>(seen));
  const ssize_t sent = ::send(to.fd, buffer_.get(), static_cast<std::size_t>(seen), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno == EINTR) return Step::moved;
    if (would_block(errno)) {
      to.writable = false;
      return Step::waits;
    }
    mark_broken(session, other(source), result);
    return Step::moved;
  }
  session.from(source).filled(static_cast<std::uint32_t>(sent));
  result.filled += static_cast<std::uint64_t>(sent);
  count_drained(session, source, static_cast<std::size_t>(sent), result);
  // What was peeked at is there to be taken; were it not, the same bytes would be sent twice.
  if (::recv(from.fd, nullptr, static_cast<std::size_t>(sent), MSG_TRUNC | MSG_DONTWAIT) != sent) {
    source_failed(session, source, result);
  }
  ++result.short_of_pipes;
  return Step::moved;
}

void Pump::count_drained(Session& session, Side source, std::size_t bytes, PumpResult& result) noexcept {
  session.from(source).drained(static_cast<std::uint32_t>(bytes));
  result.drained += bytes;
  (source == Side::client ? result.to_backend : result.to_client) += bytes;
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
  if (session.moves[index(other(side))] == Move::none) abandon(session, other(side), result);
  session.peer(side).readable = true;
}

/// The direction from `source` has lost its target.
void Pump::abandon(Session& session, Side source, PumpResult& result) noexcept {
  const std::uint32_t lost = session.from(source).abandon();
  result.discarded += lost;
  PipeId& pipe = session.pipes[index(source)];
  if (pipe == PipeId::none) return;
  if (lost != 0) {
    pipes_.scrap(pipe);
  } else {
    pipes_.give_back(pipe);
  }
  pipe = PipeId::none;
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
  PumpResult result;
  for (const Side source : {Side::client, Side::backend}) {
    if (session.moves[index(source)] == Move::none) abandon(session, source, result);
  }
  return result.discarded;
}

}  // namespace usher
