// TestBackend: accepts, receives, and owes bytes until they are sent.
#include "load/backend.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "load/tag.h"

namespace usher::load {
namespace {

constexpr std::size_t bulk_bytes = 256 * 1024;
constexpr std::uint32_t ring_entries = 4096;
constexpr std::uint32_t buffer_count = 1024;
constexpr std::uint32_t buffer_bytes = 16 * 1024;
constexpr Duration look_around = std::chrono::milliseconds(100);

}  // namespace

TestBackend::TestBackend(const ServePlan& plan, std::vector<Fd> listeners, BackendWindow& window)
    : plan_(plan),
      listeners_(std::move(listeners)),
      window_(window),
      guests_(plan.connections_max),
      box_bytes_(plan.kind == ServeKind::echo ? echo_bytes : inbox_bytes),
      // Touched only where a session is, or was.
      inboxes_(plan.kind == ServeKind::echo || plan.kind == ServeKind::http || plan.kind == ServeKind::answer
                   ? std::size_t{plan.connections_max} * box_bytes_
                   : 0),
      outboxes_(plan.kind == ServeKind::http ? std::size_t{plan.connections_max} * outbox_bytes : 0),
      filler_(plan.kind == ServeKind::echo || plan.kind == ServeKind::sink ? 0 : bulk_bytes, std::byte{'x'}),
      drop_(bulk_bytes),
      accepting_(listeners_.size()) {
  vacant_.reserve(plan.connections_max);
  for (std::uint32_t slot = plan.connections_max; slot > 0; --slot) vacant_.push_back(slot - 1);
}

Result<void> TestBackend::open() {
  auto ring = Ring::create(ring_entries);
  if (!ring) return std::unexpected(ring.error());
  ring_ = std::move(*ring);
  return reads_requests() ? ring_->provide_buffers(buffer_count, buffer_bytes) : Result<void>{};
}

Result<void> TestBackend::run() {
  TimePoint now = Clock::now();
  TimePoint next_publish = now;
  while (!window_.stop.load(std::memory_order_relaxed)) {
    if (now >= accept_again_) accept_all();
    if (const auto waited = ring_->wait(look_around); !waited) return waited;
    now = Clock::now();
    reap(now);
    if (now >= next_publish) {
      publish();
      next_publish = now + look_around;
    }
  }
  ring_.reset();  // ends what is in flight; then the sockets may go
  guests_.clear();
  publish();
  return {};
}

void TestBackend::accept_all() {
  for (std::uint32_t i = 0; i < listeners_.size(); ++i) {
    if (accepting_[i] != 0) continue;
    accepting_[i] = 1;
    ring_->accept_multishot(listeners_[i], LoadTag{LoadOp::accept, i}.pack());
  }
}

void TestBackend::reap(TimePoint now) {
  reap_tagged(*ring_, [&](LoadTag tag, const Completion& answer) {
    if (tag.op == LoadOp::accept) {
      on_accepted(tag.slot, answer, now);
      return;
    }
    if (!answer.more) --guests_[tag.slot].in_flight;
    switch (tag.op) {
      case LoadOp::send:
        on_sent(tag.slot, answer.result);
        break;
      case LoadOp::receive:
        on_received(tag.slot, answer);
        break;
      case LoadOp::accept:
      case LoadOp::connect:
      case LoadOp::cancel:
        break;  // a backend does none of these to a session
    }
  });
}

void TestBackend::on_accepted(std::uint32_t listener, const Completion& answer, TimePoint now) {
  if (!answer.more) accepting_[listener] = 0;
  if (answer.result < 0) {
    // No descriptor left, most likely: those that wait in the queue must not make this spin.
    ++counts_.shed;
    accept_again_ = now + look_around;
    return;
  }
  Fd socket(answer.result);
  if (vacant_.empty()) {
    ++counts_.shed;
    return;
  }
  const int on = 1;
  ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const std::uint32_t slot = vacant_.back();
  vacant_.pop_back();
  guests_[slot] = Guest{.socket = std::move(socket)};
  ++counts_.accepted;
  ++counts_.open;
  arm_receive(slot);
  if (plan_.kind == ServeKind::source) {
    guests_[slot].owed = ~std::uint64_t{0};
    send_owed(slot);
  }
}

void TestBackend::arm_receive(std::uint32_t slot) {
  Guest& guest = guests_[slot];
  const std::uint64_t user = LoadTag{LoadOp::receive, slot}.pack();
  guest.receiving = true;
  ++guest.in_flight;
  switch (plan_.kind) {
    case ServeKind::http:
    case ServeKind::answer:
      ring_->receive_provided(guest.socket, Ring::Shots::many, user);
      break;
    case ServeKind::echo:
      ring_->receive(guest.socket, inbox(slot), Ring::Copy::wanted, user);
      break;
    case ServeKind::source:
      ring_->receive(guest.socket, drop_, Ring::Copy::wanted, user);
      break;
    case ServeKind::sink:
      ring_->receive(guest.socket, drop_,
                     plan_.sinking == Sinking::discarded ? Ring::Copy::dropped : Ring::Copy::wanted, user);
      break;
  }
}

void TestBackend::on_received(std::uint32_t slot, const Completion& answer) {
  Guest& guest = guests_[slot];
  if (!answer.more) guest.receiving = false;
  if (answer.result > 0) counts_.bytes_received += static_cast<std::uint64_t>(answer.result);
  if (answer.result > 0 && guest.phase == Phase::open) {
    if (answer.buffer >= 0) take(slot, ring_->provided(answer));
    if (plan_.kind == ServeKind::echo) {
      guest.inbox_used = static_cast<std::uint32_t>(answer.result);
      guest.owed = static_cast<std::uint64_t>(answer.result);
      send_owed(slot);
    }
  }
  if (answer.buffer >= 0) ring_->give_back(answer);
  if (answer.result > 0 || answer.result == -ENOBUFS) {
    const bool wanted =
        guest.phase != Phase::closing && !guest.receiving && !(plan_.kind == ServeKind::echo && guest.owed > 0);
    if (wanted) arm_receive(slot);
    if (guest.phase == Phase::closing && guest.in_flight == 0) end(slot);
    return;
  }
  // The peer has closed, or the connection broke. What is owed still goes out after a FIN, but for a source, which
  // would go on for ever.
  if (answer.result == 0 && guest.owed + guest.head_left > 0 && plan_.kind != ServeKind::source &&
      guest.phase == Phase::open) {
    guest.last = true;
    return;
  }
  end(slot);
}

/// Sends the next piece of what is owed, one at a time.
void TestBackend::send_owed(std::uint32_t slot) {
  Guest& guest = guests_[slot];
  if (guest.sending || guest.phase != Phase::open || guest.owed + guest.head_left == 0) return;
  guest.sending = true;
  ++guest.in_flight;
  const std::uint64_t user = LoadTag{LoadOp::send, slot}.pack();
  if (guest.head_left > 0) {
    ring_->send(guest.socket, std::as_bytes(outbox(slot).first(guest.head_left)), user);
  } else if (plan_.kind == ServeKind::echo) {
    ring_->send(guest.socket, inbox(slot).subspan(guest.inbox_used - guest.owed, guest.owed), user);
  } else {
    ring_->send(guest.socket, std::span(filler_).first(std::min<std::uint64_t>(guest.owed, filler_.size())), user);
  }
}

void TestBackend::on_sent(std::uint32_t slot, int result) {
  Guest& guest = guests_[slot];
  guest.sending = false;
  if (result > 0) counts_.bytes_sent += static_cast<std::uint64_t>(result);
  if (result < 0 || guest.phase == Phase::closing) {
    end(slot);
    return;
  }
  const auto sent = static_cast<std::uint64_t>(result);
  if (guest.head_left > 0) {
    // The rest of a head that went out in part moves to the front.
    const auto box = outbox(slot);
    std::copy(box.begin() + static_cast<std::ptrdiff_t>(sent), box.begin() + guest.head_left, box.begin());
    guest.head_left -= static_cast<std::uint32_t>(sent);
  } else if (plan_.kind != ServeKind::source) {
    guest.owed -= sent;
  }
  if (guest.owed + guest.head_left > 0) {
    send_owed(slot);
    return;
  }
  if (guest.last) {
    if (!guest.receiving) {
      end(slot);
    } else {
      guest.phase = Phase::finishing;
      ::shutdown(guest.socket.number(), SHUT_WR);  // and the peer's FIN, which ends the receive, ends the session
    }
    return;
  }
  if (plan_.kind == ServeKind::http) read_http_inbox(slot);  // what came meanwhile
  if (guest.phase == Phase::closing) {
    if (guest.in_flight == 0) end(slot);
  } else if (!guest.receiving) {
    arm_receive(slot);
  }
}

void TestBackend::take(std::uint32_t slot, std::span<const std::byte> bytes) {
  switch (plan_.kind) {
    case ServeKind::answer:
      take_answer_requests(slot, bytes);
      break;
    case ServeKind::http:
      take_http_requests(slot, bytes);
      break;
    case ServeKind::echo:
    case ServeKind::sink:
    case ServeKind::source:
      break;  // nobody reads it
  }
}

/// Closes it, as soon as the kernel owes nothing.
void TestBackend::end(std::uint32_t slot) {
  Guest& guest = guests_[slot];
  if (guest.in_flight > 0) {
    if (guest.phase != Phase::closing) ::shutdown(guest.socket.number(), SHUT_RDWR);
    guest.phase = Phase::closing;
    return;
  }
  guest.socket.reset();
  guest.phase = Phase::closing;
  --counts_.open;
  vacant_.push_back(slot);
}

void TestBackend::publish() {
  window_.accepted.store(counts_.accepted, std::memory_order_relaxed);
  window_.open.store(counts_.open, std::memory_order_relaxed);
  window_.requests.store(counts_.requests, std::memory_order_relaxed);
  window_.bytes_sent.store(counts_.bytes_sent, std::memory_order_relaxed);
  window_.bytes_received.store(counts_.bytes_received, std::memory_order_relaxed);
  window_.refused.store(counts_.refused, std::memory_order_relaxed);
  window_.shed.store(counts_.shed, std::memory_order_relaxed);
}

}  // namespace usher::load
