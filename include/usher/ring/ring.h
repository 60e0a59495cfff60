// Ring: one io_uring, its submissions counted against its completions. Follows io_uring(7) and liburing.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher {

/// What the kernel answered. `user` is what the operation was given.
struct Completion {
  std::uint64_t user = 0;
  std::int32_t result = 0;  ///< >= 0, or a negated errno
  bool more = false;        ///< a multishot operation that will answer again (IORING_CQE_F_MORE)
};

/// Law 3: submitted = completed + in_flight, always. A multishot operation is completed by its last answer.
struct RingTally {
  std::uint64_t submitted = 0;
  std::uint64_t completed = 0;
  std::uint64_t answers = 0;  ///< completions seen, those with more to come included
  [[nodiscard]] std::uint64_t in_flight() const noexcept { return submitted - completed; }
};

/// A resource of one thread: create it on the thread that uses it (IORING_SETUP_SINGLE_ISSUER, DEFER_TASKRUN). Operations are queued
/// and go to the kernel with the next wait(), or earlier when the queue is full.
class Ring {
 public:
  /// The error says what the kernel lacks (io_uring switched off by sysctl, seccomp, an old kernel).
  static Result<std::unique_ptr<Ring>> create(std::uint32_t entries);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Accepted sockets are SOCK_NONBLOCK | SOCK_CLOEXEC; an answer for each.
  void accept_multishot(const Fd& listener, std::uint64_t user) noexcept;
  /// `to` must stay where it is until the next wait() has returned.
  void connect(const Fd& socket, const Endpoint& to, std::uint64_t user) noexcept;
  /// Edge triggered after a first, level triggered report; `events` as in poll(2).
  void poll_multishot(const Fd& file, std::uint32_t events, std::uint64_t user) noexcept;
  /// splice(2) on a thread of the kernel, never waiting for either end; one of them is a pipe. Answers like splice(2).
  void splice_async(int from, int to, std::uint32_t bytes_max, std::uint64_t user) noexcept;
  /// Asks for the end of the poll that was given `target`, and isn't answered itself: the poll's last answer says it all.
  void end_poll(std::uint64_t target) noexcept;
  /// Asks for the end of the operation that was given `target`; answers 0 or -ENOENT / -EALREADY to `user`.
  void cancel(std::uint64_t target, std::uint64_t user) noexcept;

  /// Submits what is queued and waits until something is completed or `timeout` is over (none: for ever; zero: not at all).
  /// An errno that isn't the passing of time (EINTR, ETIME, EAGAIN, EBUSY) comes back.
  Result<void> wait(std::optional<Duration> timeout) noexcept;
  /// Takes completions off the ring, at most out.size().
  std::size_t reap(std::span<Completion> out) noexcept;

  [[nodiscard]] const RingTally& tally() const noexcept { return tally_; }

 private:
  struct Kernel;
  explicit Ring(std::unique_ptr<Kernel> kernel) noexcept;
  /// What asks for no answer is given this; a complaint about it (what it was to end had ended already) is dropped.
  static constexpr std::uint64_t unanswered = ~std::uint64_t{0};
  std::unique_ptr<Kernel> kernel_;
  RingTally tally_;
};

}  // namespace usher
