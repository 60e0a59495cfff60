// Loader: its turn: wait, note what came, look after deadlines, send and dial what is due.
#include "load/loader.h"

#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <span>
#include <string_view>

#include "load/tag.h"

namespace usher::load {
namespace {

constexpr std::size_t bulk_bytes = 256 * 1024;
constexpr std::uint32_t buffer_bytes = 16 * 1024;
constexpr std::uint32_t buffers_max = 1024;
constexpr std::uint32_t ring_entries_max = 4096;
constexpr Duration give_up_after = std::chrono::seconds(1);

std::uint32_t share_of(std::uint64_t all, unsigned index, unsigned shares) {
  return static_cast<std::uint32_t>(all / shares + (index < all % shares ? 1 : 0));
}

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  std::ranges::copy(std::as_bytes(std::span(text)), bytes.begin());
  return bytes;
}

/// The answer protocol: the lengths of both, little-endian, then filler.
std::vector<std::byte> answer_request(std::uint32_t request_bytes, std::uint32_t answer_bytes) {
  std::vector<std::byte> bytes(request_bytes, std::byte{'x'});
  for (unsigned i = 0; i < 4; ++i) {
    bytes[i] = static_cast<std::byte>(request_bytes >> (8 * i));
    bytes[4 + i] = static_cast<std::byte>(answer_bytes >> (8 * i));
  }
  return bytes;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

Loader::Loader(const LoadPlan& plan, unsigned index, LoadWindow& window)
    : plan_(plan),
      index_(index),
      window_(window),
      connections_(share_of(plan.connections, index, plan.threads)),
      readers_(plan.mode == LoadMode::http ? connections_.size() : 0),
      free_(static_cast<std::uint32_t>(connections_.size())),
      to_dial_(static_cast<std::uint32_t>(connections_.size())),
      rng_(plan.seed * 0x9e3779b97f4a7c15ULL + index),
      sweep_every_(connections_.size() > 4096 ? std::chrono::milliseconds(100) : std::chrono::milliseconds(20)) {
  switch (plan.mode) {
    case LoadMode::stream:
      bulk_.assign(bulk_bytes, std::byte{'x'});
      break;
    case LoadMode::echo:
    case LoadMode::connect:
      request_ = answer_request(plan.request_bytes, plan.answer_bytes);
      break;
    case LoadMode::idle:
      request_ = bytes_of(plan.request);
      break;
    case LoadMode::http:
      request_ = bytes_of(plan.request);
      last_request_ = bytes_of(plan.last_request);
      break;
  }
  // HTTP must be read. What is only counted shares one piece of memory, which stays warm.
  provided_ = plan.mode == LoadMode::http;
  if (!provided_) drop_.resize(bulk_bytes);
  budget_ = plan.requests_max / plan.threads + (index < plan.requests_max % plan.threads ? 1 : 0);
}

Result<void> Loader::open() {
  const auto count = static_cast<std::uint32_t>(connections_.size());
  auto ring = Ring::create(std::clamp(std::bit_ceil(count), 256U, ring_entries_max));
  if (!ring) return std::unexpected(ring.error());
  ring_ = std::move(*ring);
  return provided_ ? ring_->provide_buffers(std::clamp(std::bit_ceil(count), 64U, buffers_max), buffer_bytes)
                   : Result<void>{};
}

Result<RunReport> Loader::run(TimePoint start) {
  start_ = start;
  measure_from_ = start + plan_.warmup;
  end_ = measure_from_ + plan_.duration;
  if (plan_.rate > 0) pacer_.emplace(start, plan_.rate, index_, plan_.threads);
  if (plan_.connect_rate > 0) dial_pacer_.emplace(start, plan_.connect_rate, index_, plan_.threads);
  TimePoint now = Clock::now();
  if (plan_.warmup == Duration::zero()) begin_measuring(start);
  for (std::uint32_t slot = 0; slot < connections_.size(); ++slot) revive(slot, now);
  while (!over(now)) {
    if (pacer_) send_due(now);
    dial_queued(now);
    if (const auto waited = ring_->wait(patience(now)); !waited) return std::unexpected(waited.error());
    now = Clock::now();
    if (phase_ == Phase::warming && now >= measure_from_) begin_measuring(now);
    reap(now);
    if (phase_ == Phase::measuring) note_slices(now);
    if (now >= next_sweep_) sweep(now);
  }
  return finish(now);
}

void Loader::begin_measuring(TimePoint now) {
  phase_ = Phase::measuring;
  measured_since_ = now;
  end_ = now + plan_.duration;  // the whole of it, though the warm-up may have ended a turn late
  at_warm_ = report_.total;
  late_at_warm_ = pacer_ ? pacer_->late() : 0;
  usage_at_warm_ = usage_of_thread();
  units_at_slice_ = units_moved();
}

std::uint64_t Loader::units_moved() const noexcept {
  return exchanges() ? report_.total.requests : report_.total.bytes_sent + report_.total.bytes_received;
}

void Loader::note_slices(TimePoint now) {
  while (report_.slices_whole < load_slices &&
         now >= measured_since_ + plan_.duration * static_cast<std::int64_t>(report_.slices_whole + 1) /
                                      static_cast<std::int64_t>(load_slices)) {
    report_.slices[report_.slices_whole++] = units_moved() - units_at_slice_;
    units_at_slice_ = units_moved();
  }
}

bool Loader::over(TimePoint now) {
  if (now >= end_) return true;
  if (plan_.requests_max != 0 && budget_ == 0 && outstanding_ == 0) {
    report_.ending = LoadEnding::requests_done;
    return true;
  }
  if (window_.stop.load(std::memory_order_relaxed)) {
    report_.ending = LoadEnding::interrupted;
    return true;
  }
  if (report_.total.connects == 0 && report_.errors.total() > 0 && now - start_ >= give_up_after) {
    report_.ending = LoadEnding::nothing_connected;
    return true;
  }
  return false;
}

Duration Loader::patience(TimePoint now) const noexcept {
  TimePoint wake = std::min(next_sweep_, end_);
  if (phase_ == Phase::warming) wake = std::min(wake, measure_from_);
  // A request that is due already waits for a connection, which comes with a completion.
  if (pacer_ && pacer_->next() > now) wake = std::min(wake, pacer_->next());
  if (dial_due(now)) return Duration::zero();
  if (dial_pacer_ && !to_dial_.empty()) wake = std::min(wake, dial_pacer_->next());
  return std::max(wake - now, Duration::zero());
}

void Loader::sweep(TimePoint now) {
  next_sweep_ = now + sweep_every_;
  for (std::uint32_t slot = 0; slot < connections_.size(); ++slot) {
    Connection& connection = connections_[slot];
    if (connection.deadline > now) continue;
    switch (connection.stage) {
      case Stage::resting:
        revive(slot, now);
        break;
      case Stage::dialing:
        fail(slot, LoadError::connect_timeout, now);
        break;
      case Stage::asking:
        fail(slot, LoadError::timeout, now);
        break;
      case Stage::ready:
      case Stage::streaming:
      case Stage::held:
      case Stage::closing:
        break;
    }
  }
  publish();
}

void Loader::publish() {
  window_.requests.store(report_.total.requests, std::memory_order_relaxed);
  window_.connects.store(report_.total.connects, std::memory_order_relaxed);
  window_.bytes_sent.store(report_.total.bytes_sent, std::memory_order_relaxed);
  window_.bytes_received.store(report_.total.bytes_received, std::memory_order_relaxed);
  window_.errors.store(report_.errors.total(), std::memory_order_relaxed);
  window_.open.store(open_, std::memory_order_relaxed);
  if (!window_.recent_wanted.load(std::memory_order_acquire)) return;
  {
    const std::scoped_lock lock(window_.recent_lock);
    window_.recent = recent_;
  }
  recent_.clear();
  window_.recent_wanted.store(false, std::memory_order_release);
}

void Loader::reap(TimePoint now) {
  reap_tagged(*ring_, [&](LoadTag tag, const Completion& answer) {
    if (tag.op == LoadOp::cancel) return;  // the operation that it ended answers for itself
    if (!answer.more) --connections_[tag.slot].in_flight;
    switch (tag.op) {
      case LoadOp::connect:
        on_connected(tag.slot, answer.result, now);
        break;
      case LoadOp::send:
        on_sent(tag.slot, answer.result, now);
        break;
      case LoadOp::receive:
        on_received(tag.slot, answer, now);
        break;
      case LoadOp::accept:
      case LoadOp::cancel:
        break;  // a loader doesn't accept
    }
  });
}

Loader::Usage Loader::usage_of_thread() {
  Usage usage;
  rusage times{};
  if (::getrusage(RUSAGE_THREAD, &times) == 0) {
    usage.user = seconds_of(times.ru_utime);
    usage.system = seconds_of(times.ru_stime);
  }
  // "ran waited slices", in ns (proc_pid_schedstat, Documentation/scheduler/sched-stats.rst); not every kernel has it.
  if (std::FILE* file = std::fopen("/proc/thread-self/schedstat", "re")) {
    unsigned long long ran = 0;
    unsigned long long waited = 0;
    if (std::fscanf(file, "%llu %llu", &ran, &waited) == 2) usage.wait = static_cast<double>(waited) * 1e-9;
    std::fclose(file);
  }
  return usage;
}

RunReport Loader::finish(TimePoint now) {
  if (phase_ == Phase::warming) begin_measuring(now);
  const Usage usage = usage_of_thread();
  report_.warmup = measured_since_ - start_;
  report_.measured = now - measured_since_;
  report_.counted = report_.total - at_warm_;
  report_.cpu_user_seconds = usage.user - usage_at_warm_.user;
  report_.cpu_system_seconds = usage.system - usage_at_warm_.system;
  report_.cpu_wait_seconds = usage.wait - usage_at_warm_.wait;
  if (pacer_) {
    report_.late_sends = pacer_->late() - late_at_warm_;
    report_.unsent = plan_.requests_max == 0 || budget_ > 0 ? pacer_->overdue() : 0;
  }
  for (const Connection& connection : connections_) {
    if (connection.stage == Stage::asking) {
      ++report_.unanswered;
      report_.oldest_unanswered = std::max(report_.oldest_unanswered, now - connection.wanted);
    }
  }
  report_.held = open_;
  publish();
  ring_.reset();  // ends what is in flight; then the sockets may go
  connections_.clear();
  return std::move(report_);
}

}  // namespace usher::load
