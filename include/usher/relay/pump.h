// Pump: does what the two flows of a session want, by splice(2) through a leased pipe, until they wait or the budget is spent.
#pragma once

#include <cstdint>

#include "usher/base/fd.h"
#include "usher/relay/session.h"

namespace usher {

enum class PumpEnd : std::uint8_t {
  open,            ///< goes on
  served,          ///< both directions finished with a FIN
  client_broken,   ///< the client was reset or lost; what it had sent was delivered
  backend_broken,  ///< likewise
};

/// What one call did. Byte counts are of this call.
struct PumpResult {
  PumpEnd end = PumpEnd::open;
  bool again = false;  ///< the budget was spent, more could be done: call again, after others had their turn
  bool half_closed = false;  ///< a direction ended in this call
  std::uint64_t filled = 0;
  std::uint64_t drained = 0;
  std::uint64_t discarded = 0;    ///< rested in a pipe whose target broke
  std::uint64_t to_backend = 0;   ///< part of drained
  std::uint64_t to_client = 0;
  std::uint32_t copies = 0;       ///< turns without a pipe: peek, send, take off
};

/// A worker's mover. Not thread safe. Both sockets must be non-blocking; SIGPIPE must be ignored (splice(2) raises it).
class Pump {
 public:
  explicit Pump(PipePool& pipes) noexcept : pipes_(pipes) {}
  /// REQUIRES: stage relaying. Moves at most about `budget_bytes`.
  PumpResult run(Session& session, std::uint64_t budget_bytes) noexcept;
  /// Takes the session's pipes back; answers the bytes that were still in them.
  std::uint64_t release_pipes(Session& session) noexcept;

 private:
  enum class Step : std::uint8_t { moved, waits };
  Step step(Session& session, Side source, PumpResult& result) noexcept;
  Step fill(Session& session, Side source, PumpResult& result) noexcept;
  Step drain(Session& session, Side source, PumpResult& result) noexcept;
  Step copy(Session& session, Side source, PumpResult& result) noexcept;
  void look_into_hangup(Session& session, Side side, PumpResult& result) noexcept;
  void mark_broken(Session& session, Side side, PumpResult& result) noexcept;
  void source_failed(Session& session, Side source, PumpResult& result) noexcept;
  void drop_pipe(Session& session, Side source) noexcept;

  PipePool& pipes_;
};

}  // namespace usher
