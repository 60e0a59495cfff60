// Ring: the liburing calls, and nothing but them.
#include "usher/ring/ring.h"

#include <fcntl.h>
#include <liburing.h>

#include <cstdlib>
#include <memory>

#include <fmt/format.h>

#include "usher/base/mapped_array.h"

namespace usher {
namespace {

constexpr std::uint16_t buffer_group = 0;  // a ring has one

#if defined(__SANITIZE_THREAD__)
constexpr bool thread_sanitizer = true;
#elif defined(__has_feature)
constexpr bool thread_sanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool thread_sanitizer = false;
#endif

}  // namespace

struct Ring::Kernel {
  io_uring ring{};
  std::unique_ptr<MappedArray<std::byte>> provided;  // the buffers
  std::unique_ptr<MappedArray<io_uring_buf>> offers;  // the ring that offers them to the kernel; page aligned, as mmap is
  std::uint32_t buffer_bytes = 0;
  ~Kernel() {
    if (ring.ring_fd > 0) io_uring_queue_exit(&ring);
  }
  io_uring_buf_ring* offered() noexcept { return reinterpret_cast<io_uring_buf_ring*>(&(*offers)[0]); }

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

void Ring::close(Fd file) noexcept {
  if (thread_sanitizer) return;  // the Fd closes it: TSan follows descriptors by the C library's calls alone
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_close(entry, file.release());
  io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data64(entry, unanswered);
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
    const bool filled = (answer->flags & IORING_CQE_F_BUFFER) != 0;
    out[count++] = Completion{answer->user_data, answer->res, more,
                              filled ? static_cast<std::int32_t>(answer->flags >> IORING_CQE_BUFFER_SHIFT) : -1};
    if (!more) ++tally_.completed;
  }
  io_uring_cq_advance(&kernel_->ring, seen);
  tally_.answers += count;
  return count;
}

void Ring::send(const Fd& socket, std::span<const std::byte> bytes, std::uint64_t user) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_send(entry, socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_WAITALL);
  io_uring_sqe_set_data64(entry, user);
  ++tally_.submitted;
}

void Ring::receive(const Fd& socket, std::span<std::byte> into, Copy copy, std::uint64_t user) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_recv(entry, socket.number(), into.data(), into.size(), copy == Copy::dropped ? MSG_TRUNC : 0);
  io_uring_sqe_set_data64(entry, user);
  ++tally_.submitted;
}

Result<void> Ring::provide_buffers(std::uint32_t count, std::uint32_t bytes) {
  kernel_->provided = std::make_unique<MappedArray<std::byte>>(std::size_t{count} * bytes);
  kernel_->offers = std::make_unique<MappedArray<io_uring_buf>>(count);
  kernel_->buffer_bytes = bytes;
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(kernel_->offered());
  registration.ring_entries = count;
  registration.bgid = buffer_group;
  const int status = io_uring_register_buf_ring(&kernel_->ring, &registration, 0);
  if (status < 0) return fail_system("can't give the io_uring a ring of buffers (it needs Linux 5.19)", -status);
  io_uring_buf_ring_init(kernel_->offered());
  const int mask = io_uring_buf_ring_mask(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    io_uring_buf_ring_add(kernel_->offered(), &(*kernel_->provided)[std::size_t{i} * bytes], bytes, static_cast<unsigned short>(i), mask,
                          static_cast<int>(i));
  }
  io_uring_buf_ring_advance(kernel_->offered(), static_cast<int>(count));
  return {};
}

void Ring::receive_provided(const Fd& socket, Shots shots, std::uint64_t user) noexcept {
  io_uring_sqe* entry = kernel_->entry();
  io_uring_prep_recv(entry, socket.number(), nullptr, 0, 0);
  if (shots == Shots::many) entry->ioprio |= IORING_RECV_MULTISHOT;
  io_uring_sqe_set_flags(entry, IOSQE_BUFFER_SELECT);
  entry->buf_group = buffer_group;
  io_uring_sqe_set_data64(entry, user);
  ++tally_.submitted;
}

std::span<const std::byte> Ring::provided(const Completion& answer) const noexcept {
  const std::size_t start = static_cast<std::size_t>(answer.buffer) * kernel_->buffer_bytes;
  return {&(*kernel_->provided)[start], answer.result > 0 ? static_cast<std::size_t>(answer.result) : 0};
}

void Ring::give_back(const Completion& answer) noexcept {
  const std::size_t start = static_cast<std::size_t>(answer.buffer) * kernel_->buffer_bytes;
  io_uring_buf_ring_add(kernel_->offered(), &(*kernel_->provided)[start], kernel_->buffer_bytes, static_cast<unsigned short>(answer.buffer),
                        io_uring_buf_ring_mask(static_cast<std::uint32_t>(kernel_->offers->size())), 0);
  io_uring_buf_ring_advance(kernel_->offered(), 1);
}

}  // namespace usher
