// Pump: does what the two flows of a session want, until they wait or the budget is spent: small turns are copied, bulk is spliced.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "usher/base/fd.h"
#include "usher/base/mover.h"
#include "usher/relay/session.h"

namespace usher {

enum class PumpEnd : std::uint8_t {
  open,            ///< goes on
  served,          ///< both directions finished with a FIN
  client_broken,   ///< the client was reset or lost; what it had sent was delivered
  backend_broken,  ///< likewise
};

/// A splice that the ring is to do: `source` names the direction, and moved() takes the answer.
struct Handover {
  Side source = Side::client;
  int from = -1;
  int to = -1;
  std::uint32_t bytes_max = 0;
};

/// What one call did. Byte counts are of this call.
struct PumpResult {
  PumpEnd end = PumpEnd::open;
  bool again = false;  ///< the budget was spent, more could be done: call again, after others had their turn
  bool unsure = false;   ///< a source was taken for dry without asking: within 50 ms, call again with its peer readable
  bool torrent = false;  ///< one of its ends is a torrent: within 1 ms, call calm_down()
  bool half_closed = false;  ///< a direction ended in this call
  std::uint64_t filled = 0;
  std::uint64_t drained = 0;
  std::uint64_t discarded = 0;    ///< rested in a pipe whose target broke
  std::uint64_t to_backend = 0;   ///< part of drained
  std::uint64_t to_client = 0;
  std::array<Handover, 2> handovers;
  std::uint32_t handover_count = 0;
  std::uint32_t short_of_pipes = 0;  ///< turns for which there was no pipe: peek, send, take off
};

/// Calls of calm_down() that a torrent may be quiet for; at the worker's pace of 0.5 ms these are 10 ms.
inline constexpr std::uint8_t torrent_quiet_max = 20;

/// A worker's mover. Not thread safe. Both sockets must be non-blocking; SIGPIPE must be ignored (splice(2) raises it).
class Pump {
 public:
  Pump(PipePool& pipes, Mover bulk_mover);
  /// REQUIRES: stage relaying. Moves at most about `budget_bytes`.
  PumpResult run(Session& session, std::uint64_t budget_bytes) noexcept;
  /// The ring's answer to a handover: bytes, 0 at the source's end, or a negated errno. In any stage; then run() goes on. Whether the
  /// session is over only run() says; `half_closed` and `unsure` are told once, here or there.
  PumpResult moved(Session& session, Side source, std::int32_t answer) noexcept;
  /// Of a torrent that brought nothing since the last call, what rests below its mark is to be fetched: run() again. One that
  /// stays quiet for torrent_quiet_max calls is none any more.
  void calm_down(Session& session) noexcept;
  /// Takes the session's pipes back, but for those that the ring works on; answers the bytes that were still in them.
  std::uint64_t release_pipes(Session& session) noexcept;

 private:
  enum class Step : std::uint8_t { moved, waits };
  Step step(Session& session, Side source, PumpResult& result) noexcept;
  Step fill(Session& session, Side source, PumpResult& result) noexcept;
  Step drain(Session& session, Side source, PumpResult& result) noexcept;
  Step filled(Session& session, Side source, ssize_t got, int code, PumpResult& result) noexcept;
  Step drained(Session& session, Side source, ssize_t put, int code, PumpResult& result) noexcept;
  Step hand_over(Session& session, Side source, Move move, PumpResult& result) const noexcept;
  Step copy(Session& session, Side source, PumpResult& result) noexcept;
  Step peek_and_send(Session& session, Side source, PumpResult& result) noexcept;
  static void before_send(Peer& to, std::size_t bytes) noexcept;
  static void learn(Peer& from, std::size_t got) noexcept;
  static void calm(Peer& from) noexcept;
  Step nothing_came(Session& session, Side source, int code, PumpResult& result) noexcept;
  static void count_drained(Session& session, Side source, std::size_t bytes, PumpResult& result) noexcept;
  void look_into_hangup(Session& session, Side side, PumpResult& result) noexcept;
  void mark_broken(Session& session, Side side, PumpResult& result) noexcept;
  void source_failed(Session& session, Side source, PumpResult& result) noexcept;
  void abandon(Session& session, Side source, PumpResult& result) noexcept;
  void drop_pipe(Session& session, Side source) noexcept;

  PipePool& pipes_;
  const Mover bulk_mover_;
  std::unique_ptr<char[]> buffer_;
};

}  // namespace usher
