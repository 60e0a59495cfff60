// LoadRun: the threads, their common start, and the sum of what they counted.
#include "usher/load/load_run.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "load/loader.h"

namespace usher::load {
namespace {

void add_up(RunReport& sum, const RunReport& one) {
  sum.ending = std::max(sum.ending, one.ending);
  sum.warmup = std::max(sum.warmup, one.warmup);
  sum.measured = std::max(sum.measured, one.measured);
  sum.total += one.total;
  sum.counted += one.counted;
  sum.errors += one.errors;
  sum.latency.merge(one.latency);
  sum.connect_latency.merge(one.connect_latency);
  for (std::size_t i = 0; i < sum.statuses.size(); ++i) sum.statuses[i] += one.statuses[i];
  // A slice is whole where it is on every thread.
  sum.slices_whole = std::min(sum.slices_whole, one.slices_whole);
  for (std::size_t i = 0; i < load_slices; ++i) {
    sum.slices[i] += one.slices[i];
    sum.slice_latency[i].merge(one.slice_latency[i]);
  }
  sum.late_sends += one.late_sends;
  sum.unsent += one.unsent;
  sum.unanswered += one.unanswered;
  sum.oldest_unanswered = std::max(sum.oldest_unanswered, one.oldest_unanswered);
  sum.held += one.held;
  sum.closed_by_peer += one.closed_by_peer;
  sum.cpu_user_seconds += one.cpu_user_seconds;
  sum.cpu_system_seconds += one.cpu_system_seconds;
  sum.cpu_wait_seconds += one.cpu_wait_seconds;
}

class ThreadedRun final : public LoadRun {
 public:
  explicit ThreadedRun(LoadPlan plan) : plan_(std::move(plan)) {}

  Result<void> launch() {
    std::shared_future<TimePoint> start = start_.get_future().share();
    std::vector<std::future<Result<void>>> opened;
    // All seats first: a thread finds its own in the table, which must not grow any more.
    for (unsigned i = 0; i < plan_.threads; ++i) {
      seats_.push_back(std::make_unique<Seat>());
      opened.push_back(seats_.back()->opened.get_future());
    }
    Result<void> all;
    for (unsigned i = 0; i < plan_.threads; ++i) {
      try {
        seats_[i]->thread = std::thread([this, i, start] { serve_seat(i, start); });
      } catch (const std::system_error& refused) {
        all = fail(fmt::format("can't start thread {} of {}: {}", i + 1, plan_.threads, refused.code().message()));
        opened.resize(i);
        break;
      }
      ::pthread_setname_np(seats_[i]->thread.native_handle(), fmt::format("load-{}", i).c_str());
    }
    for (auto& one : opened) {
      if (auto status = one.get(); !status && all) all = status;
    }
    if (!all) stop();
    start_.set_value(Clock::now());
    return all;
  }

  ~ThreadedRun() override {
    stop();
    join();
  }

  bool wait(Duration patience) override {
    std::unique_lock lock(ended_lock_);
    return ended_.wait_for(lock, patience, [this] { return ended_count_ == seats_.size(); });
  }

  void stop() override {
    for (const auto& seat : seats_) seat->window.stop.store(true, std::memory_order_relaxed);
  }

  LoadProgress progress() const override {
    LoadProgress sum;
    for (const auto& seat : seats_) {
      const LoadWindow& window = seat->window;
      sum.total += LoadCounts{
          window.requests.load(std::memory_order_relaxed), window.connects.load(std::memory_order_relaxed),
          window.bytes_sent.load(std::memory_order_relaxed), window.bytes_received.load(std::memory_order_relaxed)};
      sum.errors += window.errors.load(std::memory_order_relaxed);
      sum.open += window.open.load(std::memory_order_relaxed);
    }
    return sum;
  }

  std::optional<Histogram> recent() override {
    for (const auto& seat : seats_) {
      if (!asked_) seat->window.recent_wanted.store(true, std::memory_order_release);
    }
    asked_ = true;
    for (const auto& seat : seats_) {
      if (seat->window.recent_wanted.load(std::memory_order_acquire)) return std::nullopt;
    }
    asked_ = false;
    Histogram sum;
    for (const auto& seat : seats_) {
      const std::scoped_lock lock(seat->window.recent_lock);
      sum.merge(seat->window.recent);
    }
    return sum;
  }

  Result<RunReport> finish() override {
    join();
    RunReport sum;
    sum.slices_whole = load_slices;
    for (const auto& seat : seats_) {
      if (!seat->report) return std::unexpected(seat->report.error());
      add_up(sum, *seat->report);
    }
    return sum;
  }

 private:
  struct Seat {
    LoadWindow window;
    std::promise<Result<void>> opened;
    Result<RunReport> report = fail("this thread never ran");
    std::thread thread;
  };

  void serve_seat(unsigned index, const std::shared_future<TimePoint>& start) {
    Seat& seat = *seats_[index];
    try {
      Loader loader(plan_, index, seat.window);
      const Result<void> opened = loader.open();
      seat.opened.set_value(opened);
      const TimePoint begin = start.get();
      seat.report = opened ? loader.run(begin) : Result<RunReport>(std::unexpected(opened.error()));
    } catch (const std::bad_alloc&) {
      // Only the tables are allocated, before `opened` is told.
      seat.opened.set_value(fail(fmt::format("no memory for {} connections", plan_.connections)));
    }
    const std::scoped_lock lock(ended_lock_);
    ++ended_count_;
    ended_.notify_all();
  }

  void join() {
    for (const auto& seat : seats_) {
      if (seat->thread.joinable()) seat->thread.join();
    }
  }

  const LoadPlan plan_;
  std::promise<TimePoint> start_;
  std::vector<std::unique_ptr<Seat>> seats_;
  std::mutex ended_lock_;
  std::condition_variable ended_;
  std::size_t ended_count_ = 0;
  bool asked_ = false;
};

}  // namespace

Result<std::unique_ptr<LoadRun>> LoadRun::start(LoadPlan plan) {
  auto run = std::make_unique<ThreadedRun>(std::move(plan));
  if (auto launched = run->launch(); !launched) return std::unexpected(launched.error());
  return run;
}

}  // namespace usher::load
