// Mailbox: how control reaches a worker: a snapshot, orders, a question; one flag on the fast path.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/fd.h"
#include "usher/policy/backend.h"
#include "usher/worker/snapshot.h"
#include "usher/worker/worker.h"

namespace usher {

/// A question and its answer; the asker has reserved the room, so the worker allocates nothing.
struct Inspection {
  std::vector<SessionRow> rows;
  std::size_t max = 0;
  bool answered = false;
};

struct Mail {
  std::shared_ptr<const Snapshot> snapshot;  ///< null = no new one
  std::vector<BackendId> backends_to_close;
  std::optional<TimePoint> drain_deadline;
  std::vector<std::shared_ptr<Inspection>> inspections;
};

/// Many senders, one reader. The lock owns the mail; `waiting` is all that the reader looks at while there is none.
class Mailbox {
 public:
  explicit Mailbox(Fd wake) noexcept : wake_(std::move(wake)) {}

  /// Lets `write` change the mail, then wakes the reader (eventfd(2)).
  template <typename Write>
  void send(Write&& write) {
    {
      const std::lock_guard guard(lock_);
      write(mail_);
      waiting_.store(true, std::memory_order_release);
    }
    wake();
  }
  void wake() noexcept {
    const std::uint64_t one = 1;
    // The counter can only be full (EAGAIN), and then the reader is awake already.
    [[maybe_unused]] const auto written = ::write(wake_.number(), &one, sizeof one);
  }

  [[nodiscard]] bool waiting() const noexcept { return waiting_.load(std::memory_order_acquire); }
  Mail take() {
    const std::lock_guard guard(lock_);
    waiting_.store(false, std::memory_order_release);
    return std::exchange(mail_, Mail{});
  }
  /// The reader was woken: empties the eventfd.
  void acknowledge() noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_.number(), &count, sizeof count);
  }
  [[nodiscard]] const Fd& wake_descriptor() const noexcept { return wake_; }

  void answer(const std::shared_ptr<Inspection>& inspection) {
    const std::lock_guard guard(lock_);
    inspection->answered = true;
    answered_.notify_all();
  }
  bool await(const std::shared_ptr<Inspection>& inspection, Duration patience) {
    std::unique_lock guard(lock_);
    return answered_.wait_for(guard, patience, [&] { return inspection->answered; });
  }

 private:
  Fd wake_;
  std::mutex lock_;
  std::condition_variable answered_;
  Mail mail_;
  std::atomic<bool> waiting_{false};
};

}  // namespace usher
