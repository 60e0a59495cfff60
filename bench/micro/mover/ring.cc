// Ways to move through an io_uring: splice, recv and send, receive bundles, zero-copy send.
#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "mover/move.h"
#include "mover/pipe.h"
#include "usher/base/error.h"

namespace usher::micro {
namespace {

// What liburing 2.3 doesn't know yet: linux/io_uring.h of 6.10 (bundles) and 6.2 (report of a zero-copy send's copying).
constexpr unsigned feature_recvsend_bundle = 1U << 14;
constexpr unsigned short recvsend_bundle = 1U << 4;
constexpr unsigned send_zc_report_usage = 1U << 3;
constexpr unsigned notification_copied = 1U << 31;

struct Answer {
  int result = 0;
  unsigned flags = 0;
  std::uint64_t user = 0;
};

/// A ring as a worker sets it up. Not movable: liburing keeps pointers into it.
class Uring {
 public:
  Uring() {
    for (const unsigned flags : {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0U}) {
      io_uring_params params{};
      params.flags = flags;
      status_ = io_uring_queue_init_params(entries, &ring_, &params);
      features_ = params.features;
      if (status_ != -EINVAL) break;
    }
  }
  ~Uring() {
    if (status_ == 0) io_uring_queue_exit(&ring_);
  }
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  /// "" where this kernel has every one of the operations; else what is missing.
  [[nodiscard]] std::string lacks(std::initializer_list<std::pair<int, const char*>> operations) {
    if (status_ != 0) return system_error("io_uring", -status_).message;
    const std::unique_ptr<io_uring_probe, decltype(&io_uring_free_probe)> probe(io_uring_get_probe_ring(&ring_), io_uring_free_probe);
    if (probe == nullptr) return "this kernel doesn't say what its io_uring can do";
    for (const auto& [operation, called] : operations) {
      if (io_uring_opcode_supported(probe.get(), operation) == 0) return fmt::format("this kernel has no {}", called);
    }
    return {};
  }
  [[nodiscard]] unsigned features() const noexcept { return features_; }
  [[nodiscard]] io_uring* get() noexcept { return &ring_; }

  /// Never null: at most two operations are queued at a time.
  [[nodiscard]] io_uring_sqe* entry() noexcept { return io_uring_get_sqe(&ring_); }

  /// Submits what is queued and waits for one answer; -ETIME where none comes within a second.
  Answer answer() noexcept {
    __kernel_timespec patience{.tv_sec = 1, .tv_nsec = 0};
    io_uring_cqe* completion = nullptr;
    int status = -EINTR;
    for (int tries = 0; status == -EINTR && tries < 100; ++tries) {
      status = io_uring_submit_and_wait_timeout(&ring_, &completion, 1, &patience, nullptr);
    }
    if (completion == nullptr) return Answer{.result = status < 0 ? status : -ETIME};
    const Answer answer{completion->res, completion->flags, completion->user_data};
    io_uring_cqe_seen(&ring_, completion);
    return answer;
  }

 private:
  static constexpr unsigned entries = 16;
  io_uring ring_{};
  int status_ = -EINVAL;
  unsigned features_ = 0;
};

/// True where the turn is over: nothing moved, or an error, which the turn then holds.
bool over(Turn& turn, std::string_view call, int result) {
  if (result > 0) return false;
  if (result < 0 && result != -EAGAIN) turn.error = system_error(call, -result).message;
  if (result == 0) turn.error = fmt::format("{}: 0 bytes", call);
  return true;
}

/// IORING_OP_SPLICE both ways. The kernel hands each to a worker thread of its own (io-wq), whose time isn't in the figures but as
/// far as it is waited for.
class RingSplice : public Move {
 public:
  RingSplice(std::unique_ptr<Uring> ring, const Fd& source, const Fd& target, std::unique_ptr<Pipe> pipe)
      : ring_(std::move(ring)), source_(source), target_(target), pipe_(std::move(pipe)) {}

  Turn turn(std::size_t bytes) noexcept override {
    Turn turn;
    while (turn.delivered < bytes) {
      if (piped_ == 0) {
        const int got = splice(source_, pipe_->write_end, fill_bytes_max);
        if (over(turn, "ring splice from the source", got)) return turn;
        piped_ = static_cast<unsigned>(got);
      }
      const int put = splice(pipe_->read_end, target_, piped_);
      if (over(turn, "ring splice to the target", put)) return turn;
      piped_ -= static_cast<unsigned>(put);
      turn.delivered += static_cast<std::size_t>(put);
    }
    return turn;
  }

 private:
  int splice(const Fd& from, const Fd& to, unsigned bytes) noexcept {
    io_uring_prep_splice(ring_->entry(), from.number(), -1, to.number(), -1, bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    return ring_->answer().result;
  }

  static constexpr unsigned fill_bytes_max = 1U << 20;
  std::unique_ptr<Uring> ring_;
  const Fd& source_;
  const Fd& target_;
  std::unique_ptr<Pipe> pipe_;
  unsigned piped_ = 0;
};

/// recv into one buffer, then send from it, one entry into the kernel each.
class RingRecvSend : public Move {
 public:
  RingRecvSend(std::unique_ptr<Uring> ring, const Fd& source, const Fd& target, std::size_t buffer_bytes)
      : ring_(std::move(ring)), source_(source), target_(target), buffer_(buffer_bytes) {}

  Turn turn(std::size_t bytes) noexcept override {
    Turn turn;
    while (turn.delivered < bytes) {
      if (first_ == last_) {
        io_uring_prep_recv(ring_->entry(), source_.number(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        const int got = ring_->answer().result;
        if (over(turn, "ring recv", got)) return turn;
        first_ = 0;
        last_ = static_cast<std::size_t>(got);
      }
      io_uring_prep_send(ring_->entry(), target_.number(), buffer_.data() + first_, last_ - first_, MSG_DONTWAIT | MSG_NOSIGNAL);
      const int put = ring_->answer().result;
      if (over(turn, "ring send", put)) return turn;
      first_ += static_cast<std::size_t>(put);
      turn.delivered += static_cast<std::size_t>(put);
    }
    return turn;
  }

 private:
  std::unique_ptr<Uring> ring_;
  const Fd& source_;
  const Fd& target_;
  std::vector<char> buffer_;
  std::size_t first_ = 0;  ///< of what was received and not yet sent
  std::size_t last_ = 0;
};

/// recv, then IORING_OP_SEND_ZC. A buffer rests until the kernel has notified that it is done with it, which it is when the peer has
/// acknowledged; so there are several, and notifications are taken as they come.
class RingSendZeroCopy : public Move {
 public:
  RingSendZeroCopy(std::unique_ptr<Uring> ring, const Fd& source, const Fd& target)
      : ring_(std::move(ring)), source_(source), target_(target) {
    for (Buffer& buffer : buffers_) buffer.bytes.resize(buffer_bytes);
  }

  Turn turn(std::size_t bytes) noexcept override {
    Turn turn;
    while (turn.delivered < bytes) {
      if (first_ == last_) {
        if (!take_free_buffer(turn)) return turn;
        std::vector<char>& into = buffers_[current_].bytes;
        io_uring_prep_recv(ring_->entry(), source_.number(), into.data(), into.size(), MSG_DONTWAIT);
        const int got = answer().result;
        if (over(turn, "ring recv", got)) return turn;
        first_ = 0;
        last_ = static_cast<std::size_t>(got);
      }
      const int put = send();
      if (over(turn, "ring zero-copy send", put)) return turn;
      first_ += static_cast<std::size_t>(put);
      turn.delivered += static_cast<std::size_t>(put);
    }
    return turn;
  }

  [[nodiscard]] std::string label() const override {
    if (notifications_ == 0 || usage_flag_ == 0) return "loopback: the kernel copies";
    return fmt::format("loopback: the kernel copied {} %", copied_ * 100 / notifications_);
  }

 private:
  static constexpr std::size_t buffer_bytes = 64U << 10;
  struct Buffer {
    std::vector<char> bytes;
    unsigned owed = 0;  ///< notifications that are still to come
  };

  /// The answer to the operation that was just queued; notifications that come before it are noted.
  Answer answer() noexcept {
    for (unsigned seen = 0; seen < notifications_max; ++seen) {
      const Answer answer = ring_->answer();
      if ((answer.flags & IORING_CQE_F_NOTIF) == 0) return answer;
      note(answer);
    }
    return Answer{.result = -EPROTO};
  }

  void note(const Answer& notification) noexcept {
    --buffers_[notification.user].owed;
    ++notifications_;
    copied_ += (static_cast<unsigned>(notification.result) & notification_copied) != 0 ? 1 : 0;
  }

  bool take_free_buffer(Turn& turn) noexcept {
    while (true) {
      for (std::size_t i = 0; i < buffers_.size(); ++i) {
        const std::size_t candidate = (current_ + 1 + i) % buffers_.size();
        if (buffers_[candidate].owed != 0) continue;
        current_ = candidate;
        return true;
      }
      const Answer notification = ring_->answer();
      if ((notification.flags & IORING_CQE_F_NOTIF) == 0) {
        turn.error = "no zero-copy send was ever notified";
        return false;
      }
      note(notification);
    }
  }

  int send() noexcept {
    io_uring_sqe* const entry = ring_->entry();
    io_uring_prep_send_zc(entry, target_.number(), buffers_[current_].bytes.data() + first_, last_ - first_, MSG_DONTWAIT | MSG_NOSIGNAL,
                          usage_flag_);
    io_uring_sqe_set_data64(entry, current_);
    const Answer sent = answer();
    if ((sent.flags & IORING_CQE_F_MORE) != 0) ++buffers_[current_].owed;
    if (sent.result == -EINVAL && usage_flag_ != 0) {
      usage_flag_ = 0;  // a kernel of before 6.2
      return send();
    }
    return sent.result;
  }

  static constexpr unsigned notifications_max = 1024;
  std::unique_ptr<Uring> ring_;
  const Fd& source_;
  const Fd& target_;
  std::array<Buffer, 16> buffers_;
  std::size_t current_ = 0;
  std::size_t first_ = 0;  ///< of what the current buffer holds and was not yet sent
  std::size_t last_ = 0;
  unsigned usage_flag_ = send_zc_report_usage;
  std::uint64_t notifications_ = 0;
  std::uint64_t copied_ = 0;
};

/// IORING_RECVSEND_BUNDLE: one recv fills as many of the provided buffers as there are bytes, in the order of the ring; one sendmsg
/// sends them. Its order was broken in some kernels, so the buffers' numbers are checked here and their bytes by Route.
class RingRecvBundle : public Move {
 public:
  RingRecvBundle(std::unique_ptr<Uring> ring, const Fd& source, const Fd& target)
      : ring_(std::move(ring)), source_(source), target_(target), memory_(buffer_count * buffer_bytes) {}
  ~RingRecvBundle() override {
    if (registered_) io_uring_unregister_buf_ring(ring_->get(), group);
  }

  /// 0, or a negated errno.
  int provide() noexcept {
    if (buffers_ == nullptr) return -ENOMEM;
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uintptr_t>(buffers_.get());
    registration.ring_entries = buffer_count;
    registration.bgid = group;
    if (const int status = io_uring_register_buf_ring(ring_->get(), &registration, 0); status != 0) return status;
    registered_ = true;
    io_uring_buf_ring_init(buffers_.get());
    give_back(0, buffer_count);
    return 0;
  }

  Turn turn(std::size_t bytes) noexcept override {
    Turn turn;
    while (turn.delivered < bytes) {
      if (rest_ == 0 && !receive(turn)) return turn;
      message_.msg_iov = pieces_.data() + first_piece_;
      message_.msg_iovlen = piece_count_ - first_piece_;
      io_uring_prep_sendmsg(ring_->entry(), target_.number(), &message_, MSG_DONTWAIT | MSG_NOSIGNAL);
      const int put = ring_->answer().result;
      if (over(turn, "ring sendmsg", put)) return turn;
      turn.delivered += static_cast<std::size_t>(put);
      sent(static_cast<std::size_t>(put));
    }
    return turn;
  }

 private:
  static constexpr unsigned buffer_count = 16;
  static constexpr std::size_t buffer_bytes = 16U << 10;
  static constexpr unsigned short group = 0;
  static constexpr std::size_t page_bytes = 4096;

  bool receive(Turn& turn) noexcept {
    io_uring_sqe* const entry = ring_->entry();
    io_uring_prep_recv(entry, source_.number(), nullptr, 0, MSG_DONTWAIT);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->ioprio |= recvsend_bundle;
    entry->buf_group = group;
    const Answer got = ring_->answer();
    if (over(turn, "ring recv, bundled", got.result)) return false;
    const unsigned first = got.flags >> IORING_CQE_BUFFER_SHIFT;
    if ((got.flags & IORING_CQE_F_BUFFER) == 0 || first != next_) {
      turn.error = fmt::format("ring recv, bundled: buffer {} came, {} was next", first, next_);
      return false;
    }
    rest_ = static_cast<std::size_t>(got.result);
    first_piece_ = 0;
    piece_count_ = 0;
    for (std::size_t left = rest_; left != 0; left -= pieces_[piece_count_++].iov_len) {
      pieces_[piece_count_] = iovec{memory_.data() + next_ * buffer_bytes, std::min(left, buffer_bytes)};
      next_ = (next_ + 1) % buffer_count;
    }
    return true;
  }

  void sent(std::size_t bytes) noexcept {
    rest_ -= bytes;
    while (bytes != 0) {
      iovec& piece = pieces_[first_piece_];
      const std::size_t part = std::min(bytes, piece.iov_len);
      piece.iov_base = static_cast<char*>(piece.iov_base) + part;
      piece.iov_len -= part;
      bytes -= part;
      if (piece.iov_len == 0) ++first_piece_;
    }
    if (rest_ == 0) give_back((next_ + buffer_count - piece_count_) % buffer_count, piece_count_);
  }

  /// In the order in which they were taken, so that a buffer's number always stands for its place in the ring.
  void give_back(unsigned first, unsigned count) noexcept {
    for (unsigned i = 0; i < count; ++i) {
      const unsigned number = (first + i) % buffer_count;
      io_uring_buf_ring_add(buffers_.get(), memory_.data() + number * buffer_bytes, buffer_bytes, static_cast<unsigned short>(number),
                            io_uring_buf_ring_mask(buffer_count), static_cast<int>(i));
    }
    io_uring_buf_ring_advance(buffers_.get(), static_cast<int>(count));
  }

  std::unique_ptr<Uring> ring_;
  const Fd& source_;
  const Fd& target_;
  std::vector<char> memory_;
  std::unique_ptr<io_uring_buf_ring, decltype(&std::free)> buffers_{
      static_cast<io_uring_buf_ring*>(std::aligned_alloc(page_bytes, page_bytes)), &std::free};
  bool registered_ = false;
  unsigned next_ = 0;  ///< the buffer that a recv must fill first
  std::array<iovec, buffer_count> pieces_{};
  unsigned first_piece_ = 0;
  unsigned piece_count_ = 0;
  std::size_t rest_ = 0;  ///< received and not yet sent
  msghdr message_{};
};

}  // namespace

Made make_ring_splice(const Fd& source, const Fd& target, std::size_t pipe_bytes) {
  auto ring = std::make_unique<Uring>();
  if (auto lacking = ring->lacks({{IORING_OP_SPLICE, "IORING_OP_SPLICE"}}); !lacking.empty()) return {nullptr, lacking};
  auto pipe = make_pipe(pipe_bytes);
  if (!pipe) return {nullptr, pipe.error().message};
  return {std::make_unique<RingSplice>(std::move(ring), source, target, std::move(*pipe)), {}};
}

Made make_ring_recv_send(const Fd& source, const Fd& target, std::size_t buffer_bytes) {
  auto ring = std::make_unique<Uring>();
  auto lacking = ring->lacks({{IORING_OP_RECV, "IORING_OP_RECV"}, {IORING_OP_SEND, "IORING_OP_SEND"}});
  if (!lacking.empty()) return {nullptr, lacking};
  return {std::make_unique<RingRecvSend>(std::move(ring), source, target, buffer_bytes), {}};
}

Made make_ring_send_zero_copy(const Fd& source, const Fd& target) {
  auto ring = std::make_unique<Uring>();
  auto lacking = ring->lacks({{IORING_OP_RECV, "IORING_OP_RECV"}, {IORING_OP_SEND_ZC, "IORING_OP_SEND_ZC"}});
  if (!lacking.empty()) return {nullptr, lacking};
  return {std::make_unique<RingSendZeroCopy>(std::move(ring), source, target), {}};
}

Made make_ring_recv_bundle(const Fd& source, const Fd& target) {
  auto ring = std::make_unique<Uring>();
  auto lacking = ring->lacks({{IORING_OP_RECV, "IORING_OP_RECV"}, {IORING_OP_SENDMSG, "IORING_OP_SENDMSG"}});
  if (!lacking.empty()) return {nullptr, lacking};
  if ((ring->features() & feature_recvsend_bundle) == 0) return {nullptr, "this kernel has no receive bundles (they came with 6.10)"};
  auto move = std::make_unique<RingRecvBundle>(std::move(ring), source, target);
  if (const int status = move->provide(); status != 0) return {nullptr, system_error("a ring of provided buffers", -status).message};
  return {std::move(move), {}};
}

}  // namespace usher::micro
