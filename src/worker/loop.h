// Loop: one worker's turn, and the life of its sessions. Private to the worker room; touched by its own thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/rng.h"
#include "usher/base/slab.h"
#include "usher/base/timer_wheel.h"
#include "usher/metrics/counters.h"
#include "usher/relay/pipe_pool.h"
#include "usher/relay/pump.h"
#include "usher/relay/session.h"
#include "usher/ring/ring.h"
#include "usher/worker/snapshot.h"
#include "usher/worker/worker.h"
#include "worker/mailbox.h"
#include "worker/reminders.h"
#include "worker/tag.h"

namespace usher {

/// How long a client may take to send its PROXY header.
inline constexpr std::uint32_t greeting_timeout_ms = 5000;
/// A session moves about this much, then others have their turn.
inline constexpr std::uint64_t turn_budget_bytes = 256U << 10;
/// How long a short answer is believed before the socket is asked once more.
inline constexpr Duration doubt_patience = std::chrono::milliseconds(50);
/// How long a torrent may bring nothing before what rests below its mark is fetched.
inline constexpr Duration torrent_patience = std::chrono::microseconds(500);
/// How long a listener rests after the kernel had no descriptor or memory for another connection.
inline constexpr Duration accept_rest = std::chrono::milliseconds(100);

/// What allow and deny say of a client; deny wins.
[[nodiscard]] bool admits(const ListenerPlan& plan, const Endpoint& client) noexcept;

/// What a session needs only until it is connected. Candidates are copied, so that a reload may drop the pool meanwhile.
struct Dial {
  struct Candidate {
    std::uint32_t backend;
    Endpoint address;
  };
  std::array<Candidate, connect_attempts_max> candidates;
  std::uint32_t count = 0;
  std::uint32_t at = 0;
  int failure = 0;  ///< errno of the candidate that was given up; only its poll is still to come home
  std::uint32_t connect_timeout_ms = 0;
  SendProxy send_proxy = SendProxy::off;
  Endpoint bind_source;  ///< unset = the kernel's choice
  Endpoint client;       ///< as the backend shall see it
  Endpoint destination;  ///< likewise
  Outcome last_failure = Outcome::dial_refused;
  TimePoint started_at;
};

class Loop {
 public:
  Loop(const WorkerOptions& options, Shared& shared, Sheet& sheet, Mailbox& mailbox, std::unique_ptr<Ring> ring);
  ~Loop();

  /// Runs until a drain is over.
  void run() noexcept;

 private:
  /// One bound address of a listener, from its first accept until its queue is empty and its socket closed.
  struct Door {
    std::shared_ptr<const ListenerPlan> plan;
    std::shared_ptr<ListenGroup> group;  ///< null = this entry is free
    bool armed = false;                  ///< an accept is in flight
    bool leaving = false;                ///< not in the snapshot any more
    std::optional<TimePoint> rests_until;
  };

  // The turn, in its order (loop.cc).
  void read_mail() noexcept;
  void adopt(std::shared_ptr<const Snapshot> snapshot) noexcept;
  [[nodiscard]] bool nothing_left() const noexcept;
  [[nodiscard]] std::optional<Duration> patience() const noexcept;
  void note_completions() noexcept;
  void note(const Completion& completion) noexcept;
  void pump_ready() noexcept;
  void expire() noexcept;
  void publish_counters() noexcept;
  void answer(Inspection& inspection) noexcept;

  // Doors (admit.cc).
  void open_door(const std::shared_ptr<const ListenerPlan>& plan, const std::shared_ptr<ListenGroup>& group) noexcept;
  void arm(std::uint32_t door) noexcept;
  void leave(std::uint32_t door) noexcept;
  void close_when_empty(std::uint32_t door) noexcept;
  void on_accept(std::uint32_t door, const Completion& completion) noexcept;
  void admit(const ListenerPlan& plan, Fd client) noexcept;
  void turn_away(const ListenerPlan& plan, Fd client, Outcome outcome) noexcept;

  // From the first byte to a connected backend (dial.cc).
  void read_greeting(std::uint32_t slot) noexcept;
  void welcome(std::uint32_t slot, const Endpoint& client, const Endpoint& destination) noexcept;
  void choose(std::uint32_t slot, const Endpoint& client, const Endpoint& destination) noexcept;
  void dial_next(std::uint32_t slot) noexcept;
  void candidate_failed(std::uint32_t slot, int code) noexcept;
  void on_dial(std::uint32_t slot, const Completion& completion) noexcept;
  void give_up(std::uint32_t slot, int code) noexcept;
  void connected(std::uint32_t slot) noexcept;
  bool send_proxy_header(Session& session, const Dial& dial) noexcept;

  // Relaying and the end (sessions.cc).
  void on_poll(std::uint32_t slot, Side side, const Completion& completion) noexcept;
  void poll(std::uint32_t slot, Side side) noexcept;
  void mark_ready(std::uint32_t slot) noexcept;
  void on_move(std::uint32_t slot, Side source, std::int32_t answer) noexcept;
  void run_pump(std::uint32_t slot) noexcept;
  void account(const Session& session, const PumpResult& result) noexcept;
  void heed(std::uint32_t slot, const PumpResult& result) noexcept;
  void on_deadline(std::uint32_t slot) noexcept;
  void make_sure(std::uint32_t slot) noexcept;
  void look_after_torrent(std::uint32_t slot) noexcept;
  void set_relay_deadline(std::uint32_t slot) noexcept;
  void terminate(std::uint32_t slot, Outcome outcome) noexcept;
  void join(std::uint32_t slot) noexcept;
  void leave_backend(Session& session) noexcept;
  [[nodiscard]] std::uint64_t tag(Op op, std::uint32_t slot, Side side) const noexcept {
    return Tag{op, side, sessions_.generation(slot), slot}.pack();
  }

  const std::uint32_t index_;
  std::atomic<std::uint32_t>* const load_;
  Shared& shared_;
  Sheet& sheet_;
  Mailbox& mailbox_;
  std::unique_ptr<Ring> ring_;
  Rng rng_;
  PipePool pipes_;
  Pump pump_;
  TimePoint now_;
  Slab<Session> sessions_;
  Slab<Dial> dials_;
  TimerWheel wheel_;
  std::vector<std::uint32_t> ready_;
  std::vector<std::uint32_t> ready_now_;
  Reminders doubts_;
  Reminders torrents_;
  std::vector<Door> doors_;
  std::vector<std::shared_ptr<const ListenerPlan>> plans_;  ///< by listener id; the last one known
  std::uint64_t bytes_piped_ = 0;
  std::optional<TimePoint> drain_deadline_;
  bool leaving_ = false;
};

}  // namespace usher
