// Relaying, deadlines, and the three steps of an end: terminate, owe nothing, join.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "worker/loop.h"

namespace usher {

void Loop::poll(std::uint32_t slot, Side side) noexcept {
  Session& session = sessions_[slot];
  // Fd is only lent to the ring: the session closes its sockets by name, in join().
  Fd socket(session.peer(side).fd);
  ring_->poll_multishot(socket, POLLIN | POLLOUT | POLLRDHUP, tag(Op::poll, slot, side));
  [[maybe_unused]] const int kept = socket.release();
  ++session.owed;
  (side == Side::client ? session.client_polled : session.backend_polled) = true;
}

void Loop::mark_ready(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  if (session.queued) return;
  session.queued = true;
  ready_.push_back(slot);
}

void Loop::on_poll(std::uint32_t slot, Side side, const Completion& completion) noexcept {
  Session& session = sessions_[slot];
  if (!completion.more) (side == Side::client ? session.client_polled : session.backend_polled) = false;
  if (session.stage == Stage::closing) return;
  if (session.stage == Stage::dialing && side == Side::backend) {
    on_dial(slot, completion);
    if (session.stage != Stage::relaying) return;
  }
  Peer& peer = session.peer(side);
  if (completion.result < 0) return terminate(slot, completion.result == -ENOMEM ? Outcome::shed : Outcome::internal);
  const auto events = static_cast<std::uint32_t>(completion.result);
  if ((events & (POLLIN | POLLRDHUP | POLLERR | POLLHUP)) != 0) peer.readable = true;
  if ((events & (POLLOUT | POLLERR | POLLHUP)) != 0) peer.writable = true;
  if ((events & (POLLERR | POLLHUP)) != 0) peer.hung = true;
  if ((events & (POLLRDHUP | POLLERR | POLLHUP)) != 0) peer.ending = true;
  if (!completion.more) poll(slot, side);
  mark_ready(slot);
}

/// The ring has moved a part of a bulk transfer. Where the session has ended meanwhile, the pipe comes back only now.
void Loop::on_move(std::uint32_t slot, Side source, std::int32_t answer) noexcept {
  Session& session = sessions_[slot];
  PumpResult result = pump_.moved(session, source, answer);
  const bool closing = session.stage == Stage::closing;
  if (closing) result.discarded += pump_.release_pipes(session);
  account(session, result);
  if (closing) return;
  if (result.filled != 0 || result.drained != 0) session.active_at = now_;
  heed(slot, result);
  mark_ready(slot);
}

/// What a call of the pump asks for beyond another call.
void Loop::heed(std::uint32_t slot, const PumpResult& result) noexcept {
  if (result.half_closed) {
    sessions_[slot].active_at = now_;  // a FIN is a sign of life: half_close_timeout counts from here
    set_relay_deadline(slot);
  }
  if (result.unsure) doubts_.add(slot, now_);
  if (result.torrent) torrents_.add(slot, now_);
}

void Loop::account(const Session& session, const PumpResult& result) noexcept {
  WorkerCounters& worker = sheet_.worker;
  if (result.filled != 0 || result.drained != 0) {
    worker.bytes_filled.add(result.filled);
    worker.bytes_drained.add(result.drained);
    ListenerCounters& listener = sheet_.listener(session.listener);
    listener.bytes_in.add(result.to_backend);
    listener.bytes_out.add(result.to_client);
    if (session.backend != ~std::uint32_t{0}) {
      BackendCounters& backend = sheet_.backend(session.backend);
      backend.bytes_in.add(result.to_backend);
      backend.bytes_out.add(result.to_client);
    }
  }
  if (result.discarded != 0) worker.bytes_discarded.add(result.discarded);
  if (result.short_of_pipes != 0) worker.pipes_short.add(result.short_of_pipes);
  bytes_piped_ += result.filled;
  bytes_piped_ -= result.drained + result.discarded;
}

void Loop::run_pump(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  const PumpResult result = pump_.run(session, turn_budget_bytes);
  if (result.filled != 0 || result.drained != 0) session.active_at = now_;
  account(session, result);
  for (std::uint32_t i = 0; i < result.handover_count; ++i) {
    const Handover& handover = result.handovers[i];
    ring_->splice_async(handover.from, handover.to, handover.bytes_max, tag(Op::move, slot, handover.source));
    ++session.owed;
  }
  switch (result.end) {
    case PumpEnd::open: break;
    case PumpEnd::served: return terminate(slot, Outcome::served);
    case PumpEnd::client_broken: return terminate(slot, Outcome::client_gone);
    case PumpEnd::backend_broken: return terminate(slot, Outcome::backend_gone);
  }
  heed(slot, result);
  if (result.again) mark_ready(slot);
}

/// A source was taken for dry because it answered less than it was asked for. The one time that this is wrong, in front of
/// an urgent byte, nothing would ever report what stands behind it.
void Loop::make_sure(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  if (session.stage != Stage::relaying) return;
  for (Peer& peer : session.peers) peer.readable = true;
  mark_ready(slot);
}

void Loop::look_after_torrent(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  if (session.stage != Stage::relaying) return;
  pump_.calm_down(session);
  mark_ready(slot);
}

/// The wheel's entry is lazy: activity only moves active_at, and the entry finds out when it fires.
void Loop::set_relay_deadline(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  const std::uint32_t patience_ms = session.whole() ? session.idle_timeout_ms : session.half_close_timeout_ms;
  std::optional<TimePoint> due;
  if (patience_ms != 0) due = session.active_at + std::chrono::milliseconds(patience_ms);
  if (session.lifetime_ms != 0) {
    const TimePoint end = session.accepted_at + std::chrono::milliseconds(session.lifetime_ms);
    due = std::min(due.value_or(end), end);
  }
  if (due) {
    wheel_.set(slot, *due);
  } else {
    wheel_.clear(slot);
  }
}

void Loop::on_deadline(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  switch (session.stage) {
    case Stage::greeting: return terminate(slot, Outcome::bad_proxy_header);
    case Stage::dialing: return give_up(slot, ETIMEDOUT);
    case Stage::relaying: break;
    case Stage::closing: return;
  }
  if (session.lifetime_ms != 0 && session.accepted_at + std::chrono::milliseconds(session.lifetime_ms) <= now_) {
    return terminate(slot, Outcome::lifetime);
  }
  const std::uint32_t patience_ms = session.whole() ? session.idle_timeout_ms : session.half_close_timeout_ms;
  if (patience_ms != 0 && session.active_at + std::chrono::milliseconds(patience_ms) <= now_) {
    return terminate(slot, Outcome::idle);
  }
  set_relay_deadline(slot);
}

void Loop::leave_backend(Session& session) noexcept {
  if (session.backend == ~std::uint32_t{0}) return;
  shared_.board.leave(BackendId{session.backend});
  session.backend = ~std::uint32_t{0};
}

/// First step of the end: the outcome is counted, pipes go back, and what is in flight is asked to come home. The sockets
/// stay open until it has: a poll holds on to its file, so closing earlier would send nothing.
void Loop::terminate(std::uint32_t slot, Outcome outcome) noexcept {
  Session& session = sessions_[slot];
  session.stage = Stage::closing;
  session.queued = false;
  wheel_.clear(slot);
  const std::uint64_t lost = pump_.release_pipes(session);
  bytes_piped_ -= lost;
  if (lost != 0) sheet_.worker.bytes_discarded.add(lost);
  leave_backend(session);
  ListenerCounters& listener = sheet_.listener(session.listener);
  listener.active.sub();
  listener.closed[static_cast<std::size_t>(outcome)].add();
  listener.duration.note(now_ - session.accepted_at);
  shared_.listener_sessions[session.listener].fetch_sub(1, std::memory_order_relaxed);
  shared_.sessions.fetch_sub(1, std::memory_order_relaxed);
  if (outcome != Outcome::served) {
    // A FIN would pass a broken stream off as a whole one.
    const linger reset{.l_onoff = 1, .l_linger = 0};
    for (const Peer& peer : session.peers) {
      if (peer.fd >= 0) ::setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
  }
  if (session.client_polled) ring_->end_poll(tag(Op::poll, slot, Side::client));
  if (session.backend_polled) ring_->end_poll(tag(Op::poll, slot, Side::backend));
  if (session.owed == 0) join(slot);
}

/// Last step. REQUIRES: closing, and the kernel owes nothing.
void Loop::join(std::uint32_t slot) noexcept {
  Session& session = sessions_[slot];
  if (session.dial != ~std::uint32_t{0}) dials_.release(std::exchange(session.dial, ~std::uint32_t{0}));
  // By the ring, with all else of this turn; at once where the next client may want the descriptors.
  const bool crowded = sessions_.used() > sessions_.capacity() / 8 * 7;
  for (Peer& peer : session.peers) {
    Fd socket(std::exchange(peer.fd, -1));
    if (socket && !crowded) ring_->close(std::move(socket));
  }
  sessions_.release(slot);
}

}  // namespace usher
