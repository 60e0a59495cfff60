// Session: one client, one backend, two flows and a clock.
#pragma once

#include <array>
#include <cstdint>

#include "usher/base/clock.h"
#include "usher/base/fd.h"
#include "usher/relay/flow.h"
#include "usher/relay/pipe_pool.h"

namespace usher {

/// greeting --header--> dialing --connected--> relaying --both flows over--> closing
///     \__________________\____________ an error, a deadline, a drain ________/
enum class Stage : std::uint8_t {
  greeting,  ///< waits for the PROXY header of the client
  dialing,   ///< waits for a connect; the client's bytes rest in its socket
  relaying,  ///< both flows run
  closing,   ///< its outcome is counted; the slot is freed when the kernel owes it nothing
};

enum class Side : std::uint8_t { client = 0, backend = 1 };
[[nodiscard]] constexpr Side other(Side side) noexcept { return side == Side::client ? Side::backend : Side::client; }
[[nodiscard]] constexpr std::size_t index(Side side) noexcept { return static_cast<std::size_t>(side); }

/// What the ring does for one direction right now (Mover::ring); its pipe stays where it is until the ring has answered.
enum class Move : std::uint8_t { none, fill, drain };

/// How fast one end sends, learnt from its last fills.
enum class Pace : std::uint8_t {
  calm,     ///< small turns: copied
  bulk,     ///< more than a copy is worth: splice(2)
  torrent,  ///< bulk for long: the kernel wakes us only for a large amount (SO_RCVLOWAT)
};

/// One end of a session: its socket, and what the ring last said of it.
struct Peer {
  int fd = -1;            ///< closed by the worker, by name, when the session joins
  bool readable = false;  ///< sticky: set by a report, cleared by EAGAIN
  bool writable = false;
  bool broken = false;    ///< reset or timed out: nothing more goes to it
  bool hung = false;      ///< POLLERR or POLLHUP was reported and not yet looked into
  bool prompt = false;    ///< TCP_NODELAY is set
  bool spoken_to = false; ///< something was sent to it
  bool ending = false;    ///< its FIN or an error was reported: what comes next may be the end
  Pace pace = Pace::calm; ///< of what comes from it
  std::uint8_t small_fills = 0;  ///< in a row, of a source that isn't calm
  std::uint8_t quiet = 0; ///< calls of calm_down() since bytes came from it
  std::uint32_t bulk_bytes = 0;  ///< how much came since it is bulk; not counted on once it is a torrent
};

/// What lives in the worker's slab; at most two cache lines.
struct Session {
  std::array<Peer, 2> peers;             ///< by Side
  std::array<Flow, 2> flows;             ///< by the Side that is the source
  std::array<PipeId, 2> pipes = {PipeId::none, PipeId::none};
  std::array<Move, 2> moves = {Move::none, Move::none};  ///< by the Side that is the source
  Stage stage = Stage::greeting;
  std::uint8_t owed = 0;                 ///< operations that the kernel has yet to answer for the last time
  bool client_polled = false;            ///< a poll is armed on the client
  bool backend_polled = false;
  bool queued = false;                   ///< in the worker's list of the ready
  std::uint32_t listener = 0;
  std::uint32_t backend = ~std::uint32_t{0};  ///< BackendId, or all ones
  std::uint32_t dial = ~std::uint32_t{0};     ///< slot of the Dial, or all ones
  std::uint32_t idle_timeout_ms = 0;
  std::uint32_t half_close_timeout_ms = 0;
  std::uint32_t lifetime_ms = 0;         ///< 0 = none; jitter included
  TimePoint accepted_at;
  TimePoint active_at;                   ///< of the last byte moved
  [[nodiscard]] Peer& peer(Side side) noexcept { return peers[index(side)]; }
  [[nodiscard]] Flow& from(Side source) noexcept { return flows[index(source)]; }
  /// Neither direction has ended.
  [[nodiscard]] bool whole() const noexcept { return flows[0].open() && flows[1].open(); }
};
static_assert(sizeof(Session) <= 128);

}  // namespace usher
