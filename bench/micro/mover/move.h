// Move: one way to take bytes from one socket to another, as mover.cc compares them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "usher/base/fd.h"

namespace usher::micro {

/// What one turn did. `error` is empty where all went well; the first one ends the benchmark.
struct Turn {
  std::size_t delivered = 0;  ///< bytes that the target's socket took
  std::string error;
};

/// A resource of one thread, made for one pair of sockets. Both are non-blocking. Bytes that it has taken from the source and that
/// the target doesn't want yet stay with it until the next turn.
class Move {
 public:
  virtual ~Move() = default;
  Move(const Move&) = delete;
  Move& operator=(const Move&) = delete;

  /// Moves until `bytes` have reached the target, or one of the sockets has no more to give or no room: `bytes` are what is
  /// known to rest in the source and in this. So no way pays for finding out that the source is dry.
  virtual Turn turn(std::size_t bytes) noexcept = 0;
  /// What is worth telling beside the figures; may be empty.
  [[nodiscard]] virtual std::string label() const { return {}; }

 protected:
  Move() = default;
};

/// A way to move, or why this machine can't.
struct Made {
  std::unique_ptr<Move> move;
  std::string not_here;
};

Made make_splice(const Fd& source, const Fd& target, std::size_t pipe_bytes);
Made make_recv_send(const Fd& source, const Fd& target, std::size_t buffer_bytes);
Made make_peek_send(const Fd& source, const Fd& target);
/// usher's own Pump, for what it makes of all this. It looks until the source is dry, as it must.
Made make_pump(const Fd& source, const Fd& target);

Made make_ring_splice(const Fd& source, const Fd& target, std::size_t pipe_bytes);
Made make_ring_recv_send(const Fd& source, const Fd& target, std::size_t buffer_bytes);
Made make_ring_recv_bundle(const Fd& source, const Fd& target);
Made make_ring_send_zero_copy(const Fd& source, const Fd& target);

}  // namespace usher::micro
