// Ring: the liburing calls, and nothing but them.
#include "usher/ring/ring.h"

#include <fcntl.h>
#include <liburing.h>

#include <cstdlib>
#include <memory>

#include <fmt/format.h>

namespace usher {

struct Ring::Kernel {
  io_uring ring{};
  ~Kernel() {
    if (ring.ring_fd > 0) io_uring_queue_exit(&ring);
  }

  /// A free entry; a full queue is handed to the kernel first. The kernel always takes the whole queue (SUBMIT_ALL), so a
  /// second miss can't be.
  io_uring_sqe* entry() noexcept {
    if (io_uring_sqe* free = io_uring_get_sqe(&ring)) return free;
    for (int tries = 0; tries < 100; ++tries) {
      io_uring_submit(&ring);
      if (io_uring_sqe* free = io_uring_get_sqe(&ring)) return free;
    }
    std::abort();  // the kernel takes nothing any more: no session could ever be ended again
  }
};

Ring::Ring(std::unique_ptr<Kernel> kernel) noexcept : kernel_(std::move(kernel)) {}
Ring::~Ring() = default;

Result<std::unique_ptr<Ring>> Ring::create(std::uint32_t entries) {
  auto kernel = std::make_unique<Kernel>();
  // From the best that 6.1 knows to what any kernel with io_uring has.
  const std::array<unsigned, 3> choices = {
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
      IORING_SETUP_CQSIZE,
  };
  int status = -EINVAL;
  for (const unsigned flags : choices) {
    io_uring_params params{};
    params.flags = flags;
    params.cq_entries = entries * 4;  // a poll answers many times
    status = io_uring_queue_init_params(entries, &kernel->ring, &params);
    if (status != -EINVAL) break;
  }
  if (status < 0) {
    kernel->ring.ring_fd = -1;
    const char* cure = status == -EPERM || status == -ENOSYS
                           ? "; io_uring is switched off here (kernel.io_uring_disabled, seccomp, or a kernel before 5.1)"
                       : status == -ENOMEM ? "; raise RLIMIT_MEMLOCK" : "";
    Error error = system_error("can't set up an io_uring", -status);
    error.message += cure;
    return std::unexpected(std::move(error));
  }
  // Spares each call the look-up of the ring's descriptor; without it (before 5.18) everything works all the same.
  io_uring_register_ring_fd(&kernel->ring);
  return std::unique_ptr<Ring>(new Ring(std::move(kernel)));
}

void Ring::accept_multishot(const Fd& listener, std::uint64_t user) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_multishot_accept(entry, listener.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  io_uring_sqe_set_data64(entry, user);
  ++tally_.submitted;
}

void Ring::connect(const Fd& socket, const Endpoint& to, std::uint64_t user) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_connect(entry, socket.number(), to.data(), to.length());
  io_uring_sqe_set_data64(entry, user);
  ++tally_.submitted;
}

void Ring::poll_multishot(const Fd& file, std::uint32_t events, std::uint64_t user) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_poll_multishot(entry, file.number(), events);
  io_uring_sqe_set_data64(entry, user);
  ++tally_.submitted;
}

void Ring::splice_async(int from, int to, std::uint32_t bytes_max, std::uint64_t user) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_splice(entry, from, -1, to, -1, bytes_max, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  io_uring_sqe_set_data64(entry, user);
  ++tally_.submitted;
}

void Ring::end_poll(std::uint64_t target) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  // Not IORING_OP_POLL_REMOVE: it gives up (EALREADY) on a poll that was woken and hasn't reported yet.
  io_uring_prep_cancel64(entry, target, 0);
  io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data64(entry, unanswered);
}

void Ring::cancel(std::uint64_t target, std::uint64_t user) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_cancel64(entry, target, 0);
  io_uring_sqe_set_data64(entry, user);
  ++tally_.submitted;
}

Result<void> Ring::wait(std::optional<Duration> timeout) noexcept {
  io_uring_cqe* first = nullptr;
  int status = 0;
  if (!timeout) {
    status = io_uring_submit_and_wait(&kernel_->ring, 1);
  } else if (*timeout <= Duration::zero()) {
    // get_events runs deferred task work: with DEFER_TASKRUN nothing completes without it.
    status = io_uring_submit_and_get_events(&kernel_->ring);
  } else {
    __kernel_timespec limit{};
    limit.tv_sec = timeout->count() / 1'000'000'000;
    limit.tv_nsec = timeout->count() % 1'000'000'000;
    status = io_uring_submit_and_wait_timeout(&kernel_->ring, &first, 1, &limit, nullptr);
  }
  if (status >= 0 || status == -EINTR || status == -ETIME || status == -EAGAIN || status == -EBUSY) return {};
  return fail_system("io_uring_enter", -status);
}

std::size_t Ring::reap(std::span<Completion> out) noexcept {
  std::size_t count = 0;
  unsigned seen = 0;
  unsigned head = 0;
  io_uring_cqe* answer = nullptr;
  io_uring_for_each_cqe(&kernel_->ring, head, answer) {
    if (count == out.size()) break;
    ++seen;
    if (answer->user_data == unanswered) continue;
    const bool more = (answer->flags & IORING_CQE_F_MORE) != 0;
    out[count++] = Completion{answer->user_data, answer->res, more};
    if (!more) ++tally_.completed;
  }
  io_uring_cq_advance(&kernel_->ring, seen);
  tally_.answers += count;
  return count;
}

}  // namespace usher
