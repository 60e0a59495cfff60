// Loader: one request out, its answer in, and what comes next.
#include <cerrno>

#include "load/loader.h"
#include "load/tag.h"

namespace usher::load {

/// Counts a request as outstanding, where the run still wants one.
bool Loader::take_budget() noexcept {
  if (plan_.requests_max != 0) {
    if (budget_ == 0) return false;
    --budget_;
  }
  ++outstanding_;
  return true;
}

std::span<const std::byte> Loader::request_of(const Connection& connection) const noexcept {
  return connection.last && !last_request_.empty() ? last_request_ : request_;
}

void Loader::send_due(TimePoint now) {
  while (pacer_->due(now)) {
    if (free_.empty()) {
      if (plan_.requests_max == 0 || budget_ > 0) pacer_->note_none_free(now);
      return;
    }
    const std::uint32_t slot = free_.pop();
    Connection& connection = connections_[slot];
    const bool rests = connection.stage == Stage::resting && !keeps_connections();
    if (connection.stage != Stage::ready && !rests) continue;  // closed while it waited
    if (!take_budget()) return;
    connection.bound = true;
    connection.wanted = pacer_->take();
    if (rests) {
      dial(slot, now);
    } else {
      ask(slot, now);
    }
  }
}

void Loader::free_up(std::uint32_t slot, TimePoint now) {
  Connection& connection = connections_[slot];
  connection.stage = Stage::ready;
  if (pacer_) {
    free_.push(slot);
    return;
  }
  if (!take_budget()) return;
  connection.bound = true;
  connection.wanted = now;
  ask(slot, now);
}

void Loader::ask(std::uint32_t slot, TimePoint now) {
  Connection& connection = connections_[slot];
  connection.stage = Stage::asking;
  connection.deadline = now + plan_.timeout;
  connection.awaited = plan_.answer_bytes;
  connection.sent = 0;
  ++connection.asked;
  connection.last = !keeps_connections() && connection.asked >= plan_.requests_per_connection;
  if (!readers_.empty()) readers_[slot].restart();
  ++connection.in_flight;
  ring_->send(connection.socket, request_of(connection), LoadTag{LoadOp::send, slot}.pack());
  if (!connection.receiving) arm_receive(slot);
}

void Loader::arm_receive(std::uint32_t slot) {
  Connection& connection = connections_[slot];
  const std::uint64_t user = LoadTag{LoadOp::receive, slot}.pack();
  connection.receiving = true;
  ++connection.in_flight;
  if (provided_) {
    // One shot where the connection ends with its answer: a receive in flight would keep close(2) from sending the FIN.
    ring_->receive_provided(connection.socket, keeps_connections() ? Ring::Shots::many : Ring::Shots::one, user);
  } else {
    ring_->receive(connection.socket, drop_, Ring::Copy::wanted, user);
  }
}

void Loader::on_sent(std::uint32_t slot, int result, TimePoint now) {
  Connection& connection = connections_[slot];
  if (result > 0) report_.total.bytes_sent += static_cast<std::uint64_t>(result);
  if (connection.stage == Stage::closing) {
    if (connection.in_flight == 0) on_closed(slot, now);
    return;
  }
  if (result < 0) {
    fail(slot, LoadError::reset, now);
    return;
  }
  if (connection.stage == Stage::streaming) {
    send_bulk(slot);
    return;
  }
  connection.sent += static_cast<std::uint32_t>(result);
  const auto request = request_of(connection);
  if (connection.stage == Stage::asking && connection.sent < request.size()) {
    ++connection.in_flight;
    ring_->send(connection.socket, request.subspan(connection.sent), LoadTag{LoadOp::send, slot}.pack());
  }
}

void Loader::on_received(std::uint32_t slot, const Completion& answer, TimePoint now) {
  Connection& connection = connections_[slot];
  if (!answer.more) connection.receiving = false;
  if (answer.result > 0) report_.total.bytes_received += static_cast<std::uint64_t>(answer.result);
  if (connection.stage == Stage::closing) {
    if (answer.buffer >= 0) ring_->give_back(answer);
    if (connection.in_flight == 0) on_closed(slot, now);
    return;
  }
  if (answer.result > 0) {
    take_answer(slot, answer, now);
    return;
  }
  if (answer.buffer >= 0) ring_->give_back(answer);
  if (answer.result == -ENOBUFS) {  // every buffer was in use: they have come back by now
    arm_receive(slot);
  } else {
    on_ended(slot, answer.result, now);
  }
}

void Loader::take_answer(std::uint32_t slot, const Completion& answer, TimePoint now) {
  Connection& connection = connections_[slot];
  const auto size = static_cast<std::uint64_t>(answer.result);
  if (connection.stage == Stage::streaming || connection.stage == Stage::held) {
    receive_bulk(slot);
    return;
  }
  if (plan_.mode == LoadMode::http && connection.stage == Stage::asking) {
    take_http(slot, ring_->provided(answer), now);
    ring_->give_back(answer);
  } else {
    if (answer.buffer >= 0) ring_->give_back(answer);
    if (connection.stage != Stage::asking || size > connection.awaited) {
      fail(slot, LoadError::bad_answer, now);
      return;
    }
    connection.awaited -= size;
    if (connection.awaited == 0) on_answered(slot, now);
  }
  if (connection.stage == Stage::asking && !connection.receiving) arm_receive(slot);
}

void Loader::take_http(std::uint32_t slot, std::span<const std::byte> bytes, TimePoint now) {
  HttpReader& reader = readers_[slot];
  const auto [state, used] = reader.feed({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  switch (state) {
    case HttpReader::State::reading:
      return;
    case HttpReader::State::broken:
      fail(slot, LoadError::bad_answer, now);
      return;
    case HttpReader::State::complete:
      if (used < bytes.size()) {  // more than was asked for: whose answer would the rest be?
        fail(slot, LoadError::bad_answer, now);
      } else {
        on_answered(slot, now);
      }
      return;
  }
}

/// The peer closed, or the connection broke.
void Loader::on_ended(std::uint32_t slot, int result, TimePoint now) {
  Connection& connection = connections_[slot];
  const LoadError kind = result == 0            ? LoadError::closed_early
                         : result == -ETIMEDOUT ? LoadError::timeout
                                                : LoadError::reset;
  switch (connection.stage) {
    case Stage::ready:
      hang_up(slot, now);
      return;  // a server may close what nobody uses
    case Stage::held:
      ++report_.closed_by_peer;
      connection.life = Life::over;
      hang_up(slot, now);
      return;
    case Stage::asking:
      if (plan_.mode == LoadMode::http && result == 0 && readers_[slot].finish() == HttpReader::State::complete) {
        on_answered(slot, now);
      } else {
        fail(slot, kind, now);
      }
      return;
    case Stage::streaming:
    case Stage::resting:
    case Stage::dialing:
    case Stage::closing:
      fail(slot, kind, now);
      return;
  }
}

void Loader::on_answered(std::uint32_t slot, TimePoint now) {
  Connection& connection = connections_[slot];
  const Duration took = now - connection.wanted;
  ++report_.total.requests;
  if (phase_ == Phase::measuring) {
    report_.latency.add(took);
    if (report_.slices_whole < load_slices) report_.slice_latency[report_.slices_whole].add(took);
  }
  recent_.add(took);
  connection.bound = false;
  connection.failures = 0;
  --outstanding_;
  bool last = connection.last;
  if (!readers_.empty()) {
    const unsigned status = readers_[slot].status();
    ++report_.statuses[status / 100 % report_.statuses.size()];
    if (status >= 400) report_.errors.count(LoadError::http_status);
    last = last || readers_[slot].last();
  }
  if (last) {
    hang_up(slot, now);
  } else {
    free_up(slot, now);
  }
}

}  // namespace usher::load
