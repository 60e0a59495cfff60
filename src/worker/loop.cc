// Loop: the turn. Refresh, submit and wait, note every completion, pump the ready, expire deadlines.
#include "worker/loop.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "usher/base/log.h"

namespace usher {
namespace {

constexpr std::size_t completions_a_batch = 256;
constexpr std::size_t batches_a_turn_max = 16;

/// Counters are cumulative or gauges; either way the sheet shows `value` from now on.
void show(Counter& counter, std::uint64_t value) noexcept { counter.add(value - counter.get()); }

}  // namespace

Loop::Loop(const WorkerOptions& options, Shared& shared, Sheet& sheet, Mailbox& mailbox, std::unique_ptr<Ring> ring)
    : index_(options.index),
      load_(options.load),
      shared_(shared),
      sheet_(sheet),
      mailbox_(mailbox),
      ring_(std::move(ring)),
      rng_(options.seed),
      pipes_(options.pipes_max, options.large_pipes_max),
      pump_(pipes_, options.mover),
      now_(Clock::now()),
      sessions_(shared.sessions_max),
      dials_(shared.sessions_max),
      wheel_(shared.sessions_max, now_),
      doubts_(shared.sessions_max, doubt_patience),
      torrents_(shared.sessions_max, torrent_patience),
      plans_(listener_count_max) {
  ready_.reserve(shared.sessions_max);
  ready_now_.reserve(shared.sessions_max);
}

Loop::~Loop() = default;

void Loop::run() noexcept {
  ring_->poll_multishot(mailbox_.wake_descriptor(), POLLIN, Tag{Op::wake, Side::client, 0, 0}.pack());
  while (true) {
    if (mailbox_.waiting()) read_mail();
    if (!leaving_ && nothing_left()) {
      leaving_ = true;
      ring_->cancel(Tag{Op::wake, Side::client, 0, 0}.pack(), Tag{Op::cancel, Side::client, 0, ~std::uint32_t{0}}.pack());
    }
    if (const auto waited = ring_->wait(patience()); !waited) {
      // The ring itself failed; nothing can be served from it any more. Control sees the thread leave.
      log_error("worker", "worker {}: {}", index_, waited.error().message);
      break;
    }
    now_ = Clock::now();
    note_completions();
    pump_ready();
    expire();
    publish_counters();
    if (leaving_ && ring_->tally().in_flight() == 0) break;
  }
  [[maybe_unused]] const auto closed = ring_->wait(Duration::zero());  // the last sockets
  publish_counters();
}

bool Loop::nothing_left() const noexcept {
  return drain_deadline_ && sessions_.used() == 0 &&
         std::ranges::none_of(doors_, [](const Door& door) { return door.group != nullptr; });
}

void Loop::read_mail() noexcept {
  Mail mail = mailbox_.take();
  if (mail.snapshot) adopt(std::move(mail.snapshot));
  for (const BackendId backend : mail.backends_to_close) {
    sessions_.for_each([&](std::uint32_t slot, Session& session) {
      if (session.stage != Stage::closing && session.backend == backend.value) terminate(slot, Outcome::drained);
    });
  }
  if (mail.drain_deadline) {
    drain_deadline_ = std::min(drain_deadline_.value_or(*mail.drain_deadline), *mail.drain_deadline);
    for (std::uint32_t door = 0; door < doors_.size(); ++door) leave(door);
  }
  for (const auto& inspection : mail.inspections) {
    answer(*inspection);
    mailbox_.answer(inspection);
  }
}

void Loop::adopt(std::shared_ptr<const Snapshot> snapshot) noexcept {
  if (drain_deadline_) return;
  for (std::uint32_t number = 0; number < doors_.size(); ++number) {
    Door& door = doors_[number];
    if (door.group == nullptr || door.leaving) continue;
    const auto same = std::ranges::find_if(snapshot->listeners, [&](const auto& plan) {
      return std::ranges::find(plan->groups, door.group) != plan->groups.end();
    });
    if (same == snapshot->listeners.end()) {
      leave(number);
    } else {
      door.plan = *same;
    }
  }
  for (const auto& plan : snapshot->listeners) {
    plans_[plan->id] = plan;
    for (const auto& group : plan->groups) {
      const bool known = std::ranges::any_of(doors_, [&](const Door& door) { return door.group == group; });
      if (!known) open_door(plan, group);
    }
  }
}

std::optional<Duration> Loop::patience() const noexcept {
  if (!ready_.empty() || mailbox_.waiting() || (!leaving_ && nothing_left())) return Duration::zero();
  std::optional<TimePoint> until = wheel_.next_due();
  const auto sooner = [&](TimePoint time) { until = std::min(until.value_or(time), time); };
  if (drain_deadline_ && sessions_.used() != 0) sooner(*drain_deadline_);
  if (doubts_.due()) sooner(*doubts_.due());
  if (torrents_.due()) sooner(*torrents_.due());
  for (const Door& door : doors_) {
    if (door.rests_until) sooner(*door.rests_until);
  }
  if (!until) return std::nullopt;
  // Past deadlines are acted on with the next turn; the wheel's are a tick late at most, so never spin on them.
  return std::max(*until - Clock::now(), Duration(std::chrono::microseconds(100)));
}

void Loop::note_completions() noexcept {
  std::array<Completion, completions_a_batch> batch;
  for (std::size_t round = 0; round < batches_a_turn_max; ++round) {
    const std::size_t count = ring_->reap(batch);
    for (std::size_t i = 0; i < count; ++i) note(batch[i]);
    if (count < batch.size()) return;
  }
}

void Loop::note(const Completion& completion) noexcept {
  const Tag tag = Tag::unpack(completion.user);
  switch (tag.op) {
    case Op::wake:
      mailbox_.acknowledge();
      if (!completion.more && !leaving_) ring_->poll_multishot(mailbox_.wake_descriptor(), POLLIN, completion.user);
      return;
    case Op::accept: on_accept(tag.slot, completion); return;
    case Op::poll:
    case Op::move:
    case Op::cancel: break;
  }
  if (!sessions_.holds(tag.slot, tag.generation)) {
    // The wake poll and the doors are cancelled with tags that no slot has; anything else here is late.
    if (tag.slot != ~std::uint32_t{0}) sheet_.worker.stale_completions.add();
    return;
  }
  Session& session = sessions_[tag.slot];
  if (!completion.more) --session.owed;
  switch (tag.op) {
    case Op::poll: on_poll(tag.slot, tag.side, completion); break;
    case Op::move: on_move(tag.slot, tag.side, completion.result); break;
    case Op::cancel:
    case Op::wake:
    case Op::accept: break;
  }
  // What was done above may have ended the session, and even freed its slot.
  if (sessions_.holds(tag.slot, tag.generation) && session.stage == Stage::closing && session.owed == 0) join(tag.slot);
}

void Loop::pump_ready() noexcept {
  // Only those that are ready now: who becomes ready meanwhile, or has spent a budget, waits for the next turn.
  std::swap(ready_, ready_now_);
  for (const std::uint32_t slot : ready_now_) {
    Session& session = sessions_[slot];
    if (!session.queued) continue;  // its session ended, or a second entry of a reused slot
    session.queued = false;
    switch (session.stage) {
      case Stage::greeting: read_greeting(slot); break;
      case Stage::relaying: run_pump(slot); break;
      case Stage::dialing:
        if (session.peer(Side::client).hung) terminate(slot, Outcome::client_gone);
        break;
      case Stage::closing: break;
    }
  }
  ready_now_.clear();
}

void Loop::expire() noexcept {
  doubts_.take(now_, [&](std::uint32_t slot) { make_sure(slot); });
  torrents_.take(now_, [&](std::uint32_t slot) { look_after_torrent(slot); });
  wheel_.advance(now_, [&](std::uint32_t slot) { on_deadline(slot); });
  for (std::uint32_t door = 0; door < doors_.size(); ++door) {
    if (doors_[door].rests_until && *doors_[door].rests_until <= now_) {
      doors_[door].rests_until.reset();
      arm(door);
    }
  }
  if (drain_deadline_ && *drain_deadline_ <= now_) {
    sessions_.for_each([&](std::uint32_t slot, Session& session) {
      if (session.stage != Stage::closing) terminate(slot, Outcome::drained);
    });
  }
}

void Loop::publish_counters() noexcept {
  WorkerCounters& worker = sheet_.worker;
  const RingTally& tally = ring_->tally();
  worker.turns.add();
  show(worker.completions, tally.answers);
  show(worker.operations_submitted, tally.submitted);
  show(worker.operations_completed, tally.completed);
  show(worker.operations_in_flight, tally.in_flight());
  show(worker.bytes_piped, bytes_piped_);
  show(worker.pipes_open, pipes_.open());
  show(worker.pipes_leased, pipes_.leased());
  show(worker.sessions, sessions_.used());
  if (load_ != nullptr) load_->store(sessions_.used(), std::memory_order_relaxed);
}

void Loop::answer(Inspection& inspection) noexcept {
  sessions_.for_each([&](std::uint32_t, Session& session) {
    if (inspection.rows.size() == inspection.max) return;
    SessionRow row;
    row.worker = index_;
    row.listener = session.listener;
    row.backend = session.backend;
    row.stage = session.stage;
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (::getpeername(session.peer(Side::client).fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
      row.client = Endpoint::from(reinterpret_cast<sockaddr*>(&address), length);
    }
    row.age = now_ - session.accepted_at;
    row.idle = now_ - session.active_at;
    row.bytes_in = session.from(Side::client).delivered();
    row.bytes_out = session.from(Side::backend).delivered();
    inspection.rows.push_back(row);
  });
}

}  // namespace usher
