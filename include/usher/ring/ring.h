// Ring: one io_uring, its submissions counted against its completions. Follows io_uring(7) and liburing.
#pragma once

#include <array>
#include <cstddef>
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
  std::int32_t buffer = -1;  ///< which of the provided buffers holds what came; give_back() it. -1: none
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
  /// Closes it with the next wait(), without an answer.
  void close(Fd file) noexcept;
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

  // Bytes by the ring itself, for what moves many small messages and keeps none of them (usher-bench). What is sent from or received
  // into must stay until the operation is completed; several receives may share memory that nobody reads. An operation holds its
  // socket: close(2) sends no FIN before all that is in flight on it is completed (shutdown(2) ends a receive).

  /// Answers when all is sent (MSG_WAITALL), or how much was before an error; no SIGPIPE.
  void send(const Fd& socket, std::span<const std::byte> bytes, std::uint64_t user) noexcept;
  enum class Copy { wanted, dropped };  ///< dropped: taken off the socket without a copy (MSG_TRUNC, tcp(7))
  void receive(const Fd& socket, std::span<std::byte> into, Copy copy, std::uint64_t user) noexcept;

  /// Memory that the kernel picks from when bytes come, so that a silent socket needs none: `count` (a power of two, at most 32768)
  /// buffers of `bytes` each. Once a ring. Linux 5.19 (io_uring_register_buf_ring(3)).
  Result<void> provide_buffers(std::uint32_t count, std::uint32_t bytes);
  enum class Shots { one, many };  ///< many: answers until the peer closes, an error, or -ENOBUFS (Linux 6.0)
  void receive_provided(const Fd& socket, Shots shots, std::uint64_t user) noexcept;
  /// What an answer of receive_provided() brought; REQUIRES answer.buffer >= 0.
  [[nodiscard]] std::span<const std::byte> provided(const Completion& answer) const noexcept;
  /// The kernel may use it again.
  void give_back(const Completion& answer) noexcept;

 private:
  struct Kernel;
  explicit Ring(std::unique_ptr<Kernel> kernel) noexcept;
  /// What asks for no answer is given this; a complaint about it (what it was to end had ended already) is dropped.
  static constexpr std::uint64_t unanswered = ~std::uint64_t{0};
  std::unique_ptr<Kernel> kernel_;
  RingTally tally_;
};

}  // namespace usher
