// Route: two TCP connections on loopback with a Move between them, and a message that is sent, moved, read and compared.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "mover/move.h"
#include "usher/base/clock.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher::micro {

/// Both ends of one connection; `near` is the one that the balancer would hold. Non-blocking, TCP_NODELAY, cubic (this machine's
/// default may pace), and buffers that hold the largest message where this process may ask for that (SO_RCVBUFFORCE).
struct Connection {
  Fd far;
  Fd near;
  static Result<Connection> open();
};

/// What passing one message came to.
struct Passage {
  Duration moving{};        ///< inside Move::turn(), and nowhere else
  std::uint32_t turns = 0;  ///< 1 where the whole message could wait in the source
  bool late = false;        ///< a turn left bytes in the target's socket unsent: some of the sending wasn't timed
};

/// Not thread safe. One thread plays client, balancer and backend.
class Route {
 public:
  static constexpr std::size_t message_bytes_max = 1U << 20;

  static Result<Route> open();

  [[nodiscard]] const Fd& source() const noexcept { return source_.near; }
  [[nodiscard]] const Fd& target() const noexcept { return target_.near; }

  /// Writes a message that differs from the last one, moves it, reads it and compares every byte: an error where one is wrong, where
  /// the move failed, or where nothing moves for a second.
  Result<Passage> pass(Move& move, std::size_t bytes);

 private:
  Route(Connection source, Connection target);
  Result<void> write_more(std::span<const char> message, std::size_t& written);
  Result<void> read_more(std::size_t bytes, std::size_t& read);

  Connection source_;
  Connection target_;
  std::vector<char> noise_;
  std::vector<char> received_;
  std::uint64_t messages_ = 0;
};

}  // namespace usher::micro
