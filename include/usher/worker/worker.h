// Worker: one thread, one ring, one slab of sessions. Accepts, picks, dials, pumps, expires.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/base/mover.h"
#include "usher/metrics/counters.h"
#include "usher/policy/board.h"
#include "usher/relay/session.h"
#include "usher/worker/snapshot.h"

namespace usher {

/// What all workers of a process share: limits that hold over all of them, and the board.
struct Shared {
  Board board;
  std::uint32_t sessions_max = 0;
  std::atomic<std::uint32_t> sessions{0};
  std::array<std::atomic<std::uint32_t>, listener_count_max> listener_sessions{};
};

struct WorkerOptions {
  std::uint32_t index = 0;
  std::uint16_t pipes_max = 256;
  std::uint16_t large_pipes_max = 16;  ///< of these, so many may hold large_pipe_bytes
  Mover mover = Mover::worker;
  std::uint64_t seed = 1;
  std::atomic<std::uint32_t>* load = nullptr;  ///< where to publish how many sessions it holds; may be null
};

/// A session as inspect() shows it.
struct SessionRow {
  std::uint32_t worker = 0;
  std::uint32_t listener = 0;
  std::uint32_t backend = 0;  ///< BackendId, or all ones
  Stage stage = Stage::greeting;
  Endpoint client;
  Duration age{};
  Duration idle{};
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
};

/// Owned by control. Every call is thread safe and returns at once unless it says otherwise.
class Worker {
 public:
  /// Starts the thread and waits until its ring stands. `shared` and `sheet` must outlive it.
  static Result<std::unique_ptr<Worker>> start(const WorkerOptions& options, Shared& shared, Sheet& sheet);
  /// Ends the thread: drain() with a deadline that has passed, then join.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// The worker picks it up between two turns.
  void publish(std::shared_ptr<const Snapshot> snapshot);
  /// Ends the sessions that dial or hold this backend, with Outcome::drained.
  void close_backend(BackendId backend);
  /// Accepts nothing more (what already waits in the queues is still served), lets sessions end by themselves, ends the
  /// rest at `deadline`, then the thread leaves. A later call may only shorten the deadline.
  void drain(TimePoint deadline);
  /// True once the thread has left its loop.
  [[nodiscard]] bool finished() const noexcept;
  /// As gettid(2) names it; known from start() on.
  [[nodiscard]] std::uint32_t thread_id() const noexcept;
  /// Wakes the worker: a turn passes soon if it is alive (see WorkerCounters::turns).
  void poke();

  /// The sessions of this worker, at most `max`; waits for the worker, at most `patience`. Empty when it didn't answer.
  std::vector<SessionRow> inspect(std::size_t max, Duration patience);

 private:
  struct Room;
  explicit Worker(std::unique_ptr<Room> room) noexcept;
  std::unique_ptr<Room> room_;
};

}  // namespace usher
