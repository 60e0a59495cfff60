// From an admitted client to a connected backend: the PROXY header, the choice, the dial, the next candidate.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "usher/relay/proxy_header.h"
#include "worker/loop.h"

namespace usher {
namespace {

/// Not the backend's fault: this host has run out of something.
bool local_shortage(int code) noexcept {
  return code == EMFILE || code == ENFILE || code == ENOMEM || code == ENOBUFS || code == EADDRNOTAVAIL || code == EAGAIN;
}

ConnectFailure failure_of(int code) noexcept {
  if (code == ECONNREFUSED || code == ECONNRESET) return ConnectFailure::refused;
  if (code == ETIMEDOUT || code == ECANCELED) return ConnectFailure::timeout;
  if (code == ENETUNREACH || code == EHOSTUNREACH || code == ENETDOWN || code == EHOSTDOWN) return ConnectFailure::unreachable;
  if (code == EADDRNOTAVAIL || code == EADDRINUSE) return ConnectFailure::no_local_address;
  return ConnectFailure::other;
}

Outcome outcome_of(int code) noexcept {
  if (local_shortage(code)) return Outcome::shed;
  return failure_of(code) == ConnectFailure::timeout ? Outcome::dial_timeout : Outcome::dial_refused;
}

std::uint64_t key_of(const Endpoint& client, HashKey part) noexcept {
  const std::uint64_t seed = part == HashKey::source_port ? client.port() : 0;
  return hash_bytes(client.address_bytes(), seed);
}

}  // namespace

void Loop::read_greeting(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  const int fd = session.peer(Side::client).fd;
  // The header stays in the socket until it is whole, so that nothing has to rest here meanwhile.
  static thread_local std::array<std::uint8_t, proxy_header_v2_bytes_max> buffer;
  pollfd last_word{fd, POLLRDHUP, 0};
  const bool finished = ::poll(&last_word, 1, 0) == 1 && (last_word.revents & POLLRDHUP) != 0;
  const ssize_t seen = ::recv(fd, buffer.data(), buffer.size(), MSG_PEEK | MSG_DONTWAIT);
  if (seen < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return terminate(slot, Outcome::client_gone);
  }
  if (seen == 0) return terminate(slot, Outcome::client_gone);
  const ProxyHeader header = parse_proxy_header({buffer.data(), static_cast<std::size_t>(seen)});
  switch (header.state) {
    case ProxyHeaderState::partial:
      // A client that has said its last word will never complete it.
      // Only a FIN that was there before the look counts: the rest of the header may have come with it since.
      if (finished || session.peer(Side::client).hung) terminate(slot, Outcome::client_gone);
      return;
    case ProxyHeaderState::bad: return terminate(slot, Outcome::bad_proxy_header);
    case ProxyHeaderState::complete: break;
  }
  if (::recv(fd, nullptr, header.length, MSG_TRUNC | MSG_DONTWAIT) != static_cast<ssize_t>(header.length)) {
    return terminate(slot, Outcome::internal);
  }
  wheel_.clear(slot);
  if (!header.local) return welcome(slot, header.source.unmapped(), header.destination.unmapped());
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  Endpoint client;
  Endpoint destination;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    client = Endpoint::from(reinterpret_cast<sockaddr*>(&address), length).unmapped();
  }
  length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    destination = Endpoint::from(reinterpret_cast<sockaddr*>(&address), length).unmapped();
  }
  welcome(slot, client, destination);
}

/// Behind proxies the client is who the header names; the proxies themselves were let in by trusted_proxies.
void Loop::welcome(std::uint32_t slot, const Endpoint& client, const Endpoint& destination) noexcept {
  if (!admits(*plans_[sessions_[slot].listener], client)) return terminate(slot, Outcome::denied);
  choose(slot, client, destination);
}

void Loop::choose(std::uint32_t slot, const Endpoint& client, const Endpoint& destination) noexcept {
  Session& session = sessions_[slot];
  if (session.peer(Side::client).hung) return terminate(slot, Outcome::client_gone);
  const PoolPlan& pool = *plans_[session.listener]->pool;
  std::array<std::uint32_t, connect_attempts_max> order{};
  const std::uint64_t key = pool.keyed ? key_of(client, pool.hash_key) : 0;
  const std::size_t count = pool.picker->pick(key, now_, rng_, std::span(order).first(pool.connect_attempts));
  if (count == 0) return terminate(slot, Outcome::no_backend);
  const auto dial_slot = dials_.acquire();
  if (!dial_slot) return terminate(slot, Outcome::internal);  // there is a Dial for every session
  Dial& dial = dials_[*dial_slot];
  for (std::size_t i = 0; i < count; ++i) {
    const Backend& backend = pool.backends[order[i]];
    dial.candidates[i] = Dial::Candidate{backend.id.value, backend.address};
  }
  dial.count = static_cast<std::uint32_t>(count);
  dial.connect_timeout_ms = pool.connect_timeout_ms;
  dial.send_proxy = pool.send_proxy;
  if (pool.bind_source) dial.bind_source = *pool.bind_source;
  dial.client = client;
  dial.destination = destination;
  session.dial = *dial_slot;
  session.stage = Stage::dialing;
  session.idle_timeout_ms = pool.idle_timeout_ms;
  session.half_close_timeout_ms = pool.half_close_timeout_ms;
  if (pool.lifetime_ms != 0) {
    // 10 % less or more, so that sessions that came together don't leave together.
    session.lifetime_ms = static_cast<std::uint32_t>(pool.lifetime_ms * (0.9 + 0.2 * rng_.unit())) + 1;
  }
  dial_next(slot);
}

void Loop::dial_next(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  Dial& dial = dials_[session.dial];
  while (true) {
    if (dial.at == dial.count) return terminate(slot, dial.last_failure);
    const Dial::Candidate& candidate = dial.candidates[dial.at];
    session.backend = candidate.backend;
    shared_.board.enter(BackendId{candidate.backend});
    Fd socket(::socket(candidate.address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    int code = socket ? 0 : errno;
    if (code == 0) {
      if (dial.bind_source.set()) {
        const int on = 1;
        // The port is left to connect(2), which may then share one among destinations.
        ::setsockopt(socket.number(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (::bind(socket.number(), dial.bind_source.data(), dial.bind_source.length()) != 0) code = errno;
      }
    }
    // The call only sends a SYN. The poll that serves the session for life tells how it went, so that one operation does.
    if (code == 0 && ::connect(socket.number(), candidate.address.data(), candidate.address.length()) != 0 && errno != EINPROGRESS) {
      code = errno;
    }
    if (code == 0) {
      dial.started_at = now_;
      dial.failure = 0;
      session.peer(Side::backend).fd = socket.release();
      poll(slot, Side::backend);
      wheel_.set(slot, now_ + std::chrono::milliseconds(dial.connect_timeout_ms));
      return;
    }
    candidate_failed(slot, code);
  }
}

/// Counts it, lets the backend go, and moves on to the next candidate without dialling it yet.
void Loop::candidate_failed(std::uint32_t slot, int code) noexcept {
  Session& session = sessions_[slot];
  Dial& dial = dials_[session.dial];
  sheet_.backend(session.backend).connect_failures[static_cast<std::size_t>(failure_of(code))].add();
  dial.last_failure = outcome_of(code);
  // As slow as can be: without this, least_latency would try a backend that refuses again and again, as one yet unknown.
  if (!local_shortage(code)) {
    shared_.board.note_latency(BackendId{session.backend}, std::chrono::milliseconds(dial.connect_timeout_ms), now_);
  }
  leave_backend(session);
  if (Peer& backend = session.peer(Side::backend); backend.fd >= 0) {
    const Fd closed(std::exchange(backend.fd, -1));
  }
  ++dial.at;
}

/// The backend's poll, while it is dialled: writable means connected, an error or a hang-up that it won't be.
void Loop::on_dial(std::uint32_t slot, const Completion& completion) noexcept {
  Session& session = sessions_[slot];
  Dial& dial = dials_[session.dial];
  if (dial.failure == 0 && completion.result < 0) dial.failure = -completion.result;
  if (dial.failure == 0 && (completion.result & (POLLERR | POLLHUP)) != 0) {
    int code = 0;
    socklen_t length = sizeof code;
    const bool known = ::getsockopt(session.peer(Side::backend).fd, SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code != 0;
    dial.failure = known ? code : ECONNABORTED;
  }
  if (dial.failure == 0) {
    if ((completion.result & (POLLIN | POLLOUT)) != 0) return connected(slot);
    if (!completion.more) poll(slot, Side::backend);
    return;
  }
  if (completion.more) return give_up(slot, dial.failure);
  wheel_.clear(slot);
  candidate_failed(slot, dial.failure);
  dial_next(slot);
}

/// The next candidate's turn begins when this one's poll has come home: until then its socket is the kernel's too.
void Loop::give_up(std::uint32_t slot, int code) noexcept {
  dials_[sessions_[slot].dial].failure = code;
  wheel_.clear(slot);
  ring_->end_poll(tag(Op::poll, slot, Side::backend));
}

void Loop::connected(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  wheel_.clear(slot);
  Dial& dial = dials_[session.dial];
  const Duration took = now_ - dial.started_at;
  shared_.board.note_latency(BackendId{session.backend}, took, now_);
  BackendCounters& counters = sheet_.backend(session.backend);
  counters.connections.add();
  counters.connect_duration.note(took);
  const bool header_sent = dial.send_proxy != SendProxy::off;
  const bool greeted = !header_sent || send_proxy_header(session, dial);
  dials_.release(std::exchange(session.dial, ~std::uint32_t{0}));
  if (!greeted) return terminate(slot, Outcome::backend_gone);
  session.stage = Stage::relaying;
  session.active_at = now_;
  session.peer(Side::backend).writable = true;
  session.peer(Side::backend).spoken_to = header_sent;
  set_relay_deadline(slot);
  mark_ready(slot);
}

/// A fresh socket's buffer always has room for it: anything short is a connection that is broken already.
bool Loop::send_proxy_header(Session& session, const Dial& dial) noexcept {
  std::array<std::uint8_t, proxy_header_built_bytes_max> header{};
  const std::size_t length = dial.send_proxy == SendProxy::v1 ? build_proxy_header_v1(dial.client, dial.destination, header)
                                                              : build_proxy_header_v2(dial.client, dial.destination, header);
  return ::send(session.peer(Side::backend).fd, header.data(), length, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(length);
}

}  // namespace usher
