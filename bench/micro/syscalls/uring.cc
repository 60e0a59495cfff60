// Uring: setting it up, and a turn of it.
#include "syscalls/uring.h"

#include <fmt/format.h>

#include <cerrno>

namespace usher::micro {

Uring::Uring(Descriptor descriptor) {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL;
  const int status = io_uring_queue_init_params(entries, &ring_, &params);
  set_up_ = status == 0;
  if (!set_up_) {
    lacks_ = system_error("no io_uring with IORING_SETUP_DEFER_TASKRUN (Linux 6.1)", -status).message;
  } else if (descriptor == Descriptor::registered && io_uring_register_ring_fd(&ring_) != 1) {
    lacks_ = "the ring's descriptor can't be registered (Linux 5.18)";
  }
}

Uring::~Uring() {
  if (set_up_) io_uring_queue_exit(&ring_);
}

Result<void> Uring::turn(unsigned count) noexcept {
  __kernel_timespec patience{.tv_sec = 1, .tv_nsec = 0};
  io_uring_cqe* answer = nullptr;
  // Without an answer to wait for it only hands over; task work that is put off (DEFER_TASKRUN) is done all the same.
  const int status = count == 0 ? io_uring_submit_and_get_events(&ring_)
                                : io_uring_submit_and_wait_timeout(&ring_, &answer, count, &patience, nullptr);
  if (status < 0 && status != -ETIME && status != -EINTR) return fail_system("io_uring_enter", -status);
  unsigned seen = 0;
  unsigned head = 0;
  io_uring_for_each_cqe(&ring_, head, answer) {
    if (seen < entries) {
      results_[seen] = answer->res;
      flags_[seen] = answer->flags;
    }
    ++seen;
  }
  io_uring_cq_advance(&ring_, seen);
  if (seen != count) return fail(fmt::format("io_uring gave {} answers, where {} were due", seen, count));
  return {};
}

}  // namespace usher::micro
