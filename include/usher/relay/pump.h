// Pump: does what the two flows of a session want, small turns by recv(2) and send(2), bulk by splice(2), until they wait or the budget is spent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

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
  bool unsure = false;  ///< a source was taken for dry without asking: within 50 ms, call again with its peer readable
  bool half_closed = false;  ///< a direction ended in this call
  std::uint64_t filled = 0;
  std::uint64_t drained = 0;
  std::uint64_t discarded = 0;    ///< rested in a pipe whose target broke
  std::uint64_t to_backend = 0;   ///< part of drained
  std::uint64_t to_client = 0;
  std::uint32_t short_of_pipes = 0;  ///< turns for which there was no pipe: peek, send, take off
};

/// A worker's mover. Not thread safe. Both sockets must be non-blocking; SIGPIPE must be ignored (splice(2) raises it).
class Pump {
 public:
  explicit Pump(PipePool& pipes);
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
  Step peek_and_send(Session& session, Side source, PumpResult& result) noexcept;
  Step nothing_came(Session& session, Side source, int code, PumpResult& result) noexcept;
  static void count_drained(Session& session, Side source, std::size_t bytes, PumpResult& result) noexcept;
  void look_into_hangup(Session& session, Side side, PumpResult& result) noexcept;
  void mark_broken(Session& session, Side side, PumpResult& result) noexcept;
  void source_failed(Session& session, Side source, PumpResult& result) noexcept;
  void drop_pipe(Session& session, Side source) noexcept;

  PipePool& pipes_;
  std::unique_ptr<char[]> buffer_;
};

}  // namespace usher
