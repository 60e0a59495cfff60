// Commands: how other threads ask the control thread to do something, and get its answer.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>

#include "usher/base/clock.h"
#include "usher/base/fd.h"

namespace usher {

/// Any thread asks; the control thread runs what was asked between two of its waits, in order.
class Commands {
 public:
  explicit Commands(Fd wake) noexcept : wake_(std::move(wake)) {}

  /// Runs `work` on the control thread and answers what it gave; nothing when it wasn't run within `patience` (then it may
  /// still run later, and its answer is lost) or control has ended.
  template <typename Work>
  auto ask(Work work, Duration patience) -> std::optional<std::invoke_result_t<Work>> {
    using Answer = std::invoke_result_t<Work>;
    auto promise = std::make_shared<std::promise<Answer>>();
    auto answer = promise->get_future();
    {
      const std::lock_guard guard(lock_);
      if (ended_) return std::nullopt;
      queue_.emplace_back([promise, work = std::move(work)]() mutable { promise->set_value(work()); });
    }
    wake();
    if (answer.wait_for(patience) != std::future_status::ready) return std::nullopt;
    return answer.get();
  }

  void wake() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_.number(), &one, sizeof one);
  }
  [[nodiscard]] const Fd& wake_descriptor() const noexcept { return wake_; }

  /// By the control thread: runs what waits.
  void run_waiting() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_.number(), &count, sizeof count);
    while (true) {
      std::function<void()> next;
      {
        const std::lock_guard guard(lock_);
        if (queue_.empty()) return;
        next = std::move(queue_.front());
        queue_.pop_front();
      }
      next();
    }
  }
  /// By the control thread, at its end: what still waits is run, and nothing is taken any more.
  void end() {
    {
      const std::lock_guard guard(lock_);
      ended_ = true;
    }
    run_waiting();
  }

 private:
  Fd wake_;
  std::mutex lock_;
  std::deque<std::function<void()>> queue_;
  bool ended_ = false;
};

}  // namespace usher
