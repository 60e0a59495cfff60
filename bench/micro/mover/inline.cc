// Ways to move that the calling thread goes itself: splice(2), recv and send, peek and send, and usher's Pump.
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "mover/move.h"
#include "mover/pipe.h"
#include "usher/base/error.h"
#include "usher/relay/pump.h"

namespace usher::micro {
namespace {

Turn failed(std::string_view call, Turn turn) {
  turn.error = system_error(call).message;
  return turn;
}

/// The default: fill an empty pipe, drain it.
class Splice : public Move {
 public:
  Splice(const Fd& source, const Fd& target, std::unique_ptr<Pipe> pipe) : source_(source), target_(target), pipe_(std::move(pipe)) {}

  Turn turn(std::size_t bytes) noexcept override {
    constexpr unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
    Turn turn;
    while (turn.delivered < bytes) {
      if (piped_ == 0) {
        const ssize_t got = ::splice(source_.number(), nullptr, pipe_->write_end.number(), nullptr, fill_bytes_max, flags);
        if (got <= 0) return got < 0 && errno != EAGAIN ? failed("splice from the source", turn) : turn;
        piped_ = static_cast<std::size_t>(got);
      }
      const ssize_t put = ::splice(pipe_->read_end.number(), nullptr, target_.number(), nullptr, piped_, flags);
      if (put <= 0) return put < 0 && errno != EAGAIN ? failed("splice to the target", turn) : turn;
      piped_ -= static_cast<std::size_t>(put);
      turn.delivered += static_cast<std::size_t>(put);
    }
    return turn;
  }

 private:
  static constexpr std::size_t fill_bytes_max = 1U << 20;
  const Fd& source_;
  const Fd& target_;
  std::unique_ptr<Pipe> pipe_;
  std::size_t piped_ = 0;
};

class RecvSend : public Move {
 public:
  RecvSend(const Fd& source, const Fd& target, std::size_t buffer_bytes) : source_(source), target_(target), buffer_(buffer_bytes) {}

  Turn turn(std::size_t bytes) noexcept override {
    Turn turn;
    while (turn.delivered < bytes) {
      if (first_ == last_) {
        const ssize_t got = ::recv(source_.number(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        if (got <= 0) return got < 0 && errno != EAGAIN ? failed("recv", turn) : turn;
        first_ = 0;
        last_ = static_cast<std::size_t>(got);
      }
      const ssize_t put = ::send(target_.number(), buffer_.data() + first_, last_ - first_, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (put <= 0) return put < 0 && errno != EAGAIN ? failed("send", turn) : turn;
      first_ += static_cast<std::size_t>(put);
      turn.delivered += static_cast<std::size_t>(put);
    }
    return turn;
  }

 private:
  const Fd& source_;
  const Fd& target_;
  std::vector<char> buffer_;
  std::size_t first_ = 0;  ///< of what was received and not yet sent
  std::size_t last_ = 0;
};

/// What needs neither a pipe nor a buffer between two turns: look, send, take off what was sent (recv(2): MSG_PEEK; tcp(7):
/// MSG_TRUNC).
class PeekSend : public Move {
 public:
  PeekSend(const Fd& source, const Fd& target) : source_(source), target_(target), buffer_(buffer_bytes) {}

  Turn turn(std::size_t bytes) noexcept override {
    Turn turn;
    while (turn.delivered < bytes) {
      const ssize_t seen = ::recv(source_.number(), buffer_.data(), buffer_.size(), MSG_PEEK | MSG_DONTWAIT);
      if (seen <= 0) return seen < 0 && errno != EAGAIN ? failed("recv with MSG_PEEK", turn) : turn;
      const ssize_t put = ::send(target_.number(), buffer_.data(), static_cast<std::size_t>(seen), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (put <= 0) return put < 0 && errno != EAGAIN ? failed("send", turn) : turn;
      turn.delivered += static_cast<std::size_t>(put);
      const ssize_t taken = ::recv(source_.number(), nullptr, static_cast<std::size_t>(put), MSG_TRUNC | MSG_DONTWAIT);
      if (taken != put) return failed("recv with MSG_TRUNC", turn);
    }
    return turn;
  }

 private:
  static constexpr std::size_t buffer_bytes = 16U << 10;
  const Fd& source_;
  const Fd& target_;
  std::vector<char> buffer_;
};

class WithPump : public Move {
 public:
  WithPump(const Fd& source, const Fd& target) {
    session_.stage = Stage::relaying;
    session_.peer(Side::client).fd = source.number();
    session_.peer(Side::backend).fd = target.number();
  }
  ~WithPump() override { pump_.release_pipes(session_); }

  Turn turn(std::size_t) noexcept override {
    // What a poll would have reported: this side has bytes, the other one has room.
    session_.peer(Side::client).readable = true;
    session_.peer(Side::backend).writable = true;
    const PumpResult result = pump_.run(session_, budget_bytes);
    Turn turn{.delivered = static_cast<std::size_t>(result.to_backend), .error = {}};
    if (result.end != PumpEnd::open) turn.error = "the pump ended the session";
    return turn;
  }

 private:
  static constexpr std::uint64_t budget_bytes = 4U << 20;
  PipePool pipes_{2, 2};
  Pump pump_{pipes_, Mover::worker};
  Session session_;
};

}  // namespace

Made make_splice(const Fd& source, const Fd& target, std::size_t pipe_bytes) {
  auto pipe = make_pipe(pipe_bytes);
  if (!pipe) return {nullptr, pipe.error().message};
  return {std::make_unique<Splice>(source, target, std::move(*pipe)), {}};
}

Made make_recv_send(const Fd& source, const Fd& target, std::size_t buffer_bytes) {
  return {std::make_unique<RecvSend>(source, target, buffer_bytes), {}};
}

Made make_peek_send(const Fd& source, const Fd& target) { return {std::make_unique<PeekSend>(source, target), {}}; }

Made make_pump(const Fd& source, const Fd& target) { return {std::make_unique<WithPump>(source, target), {}}; }

}  // namespace usher::micro
