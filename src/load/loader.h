// Loader: one thread's share of a run: a ring, a table of connections, and what they counted.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "load/slot_queue.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"
#include "usher/base/rng.h"
#include "usher/load/http_reader.h"
#include "usher/load/pacer.h"
#include "usher/load/plan.h"
#include "usher/load/report.h"
#include "usher/ring/ring.h"

namespace usher::load {

/// What a loader's thread and the thread that watches the run share.
struct LoadWindow {
  std::atomic<bool> stop = false;  ///< written by the watcher
  std::atomic<std::uint64_t> requests = 0, connects = 0, bytes_sent = 0, bytes_received = 0, errors = 0, open = 0;
  std::atomic<bool> recent_wanted = false;  ///< written by the watcher; the loader hands `recent` over and clears this
  std::mutex recent_lock;
  Histogram recent;  ///< under recent_lock: latencies since it was last wanted
};

/// Not thread safe: made, opened and run by one thread.
///
/// A connection rests, dials, is ready, asks, and so on until it is hung up. Hanging up has two steps: what is in
/// flight is ended (shutdown(2), or a cancelled connect), and when the kernel has answered for the last time the socket
/// is closed and the slot rests.
class Loader {
 public:
  /// Share `index` of plan.threads; the plan must outlive it.
  Loader(const LoadPlan& plan, unsigned index, LoadWindow& window);
  /// The ring and its buffers.
  Result<void> open();
  /// Until the time is over, the requests are done, or the window says stop.
  Result<RunReport> run(TimePoint start);

 private:
  enum class Stage : std::uint8_t { resting, dialing, ready, asking, streaming, held, closing };
  enum class Life : std::uint8_t { goes_on, over };
  struct Connection {
    Fd socket;
    TimePoint wanted{};  ///< when its request was due
    TimePoint dialled{};
    TimePoint deadline{};       ///< dialing, asking: of the answer; resting: the next try
    std::uint64_t awaited = 0;  ///< bytes of the answer still to come (echo, connect)
    std::uint32_t sent = 0;     ///< of this request
    std::uint32_t asked = 0;    ///< requests on this connection
    std::uint16_t in_flight = 0;
    std::uint8_t failures = 0;  ///< in a row
    Stage stage = Stage::resting;
    Life life = Life::goes_on;  ///< over: not dialled again
    bool bound = false;         ///< a request waits for it, or is out
    bool receiving = false;
    bool last = false;  ///< this request closes the connection
  };

  // loader.cc: time
  void begin_measuring(TimePoint now);
  [[nodiscard]] bool over(TimePoint now);
  [[nodiscard]] Duration patience(TimePoint now) const noexcept;
  void sweep(TimePoint now);
  void note_slices(TimePoint now);
  void publish();
  void reap(TimePoint now);
  RunReport finish(TimePoint now);

  // dialing.cc: the life of a connection
  void revive(std::uint32_t slot, TimePoint now);
  [[nodiscard]] bool dial_due(TimePoint now) const noexcept;
  void dial_queued(TimePoint now);
  void dial(std::uint32_t slot, TimePoint now);
  void on_connected(std::uint32_t slot, int result, TimePoint now);
  void fail(std::uint32_t slot, LoadError kind, TimePoint now);
  void hang_up(std::uint32_t slot, TimePoint now);
  void on_closed(std::uint32_t slot, TimePoint now);

  // exchange.cc: requests and answers
  [[nodiscard]] bool take_budget() noexcept;
  void send_due(TimePoint now);
  void free_up(std::uint32_t slot, TimePoint now);
  void ask(std::uint32_t slot, TimePoint now);
  void arm_receive(std::uint32_t slot);
  void on_sent(std::uint32_t slot, int result, TimePoint now);
  void on_received(std::uint32_t slot, const Completion& answer, TimePoint now);
  void take_answer(std::uint32_t slot, const Completion& answer, TimePoint now);
  void take_http(std::uint32_t slot, std::span<const std::byte> bytes, TimePoint now);
  void on_ended(std::uint32_t slot, int result, TimePoint now);
  void on_answered(std::uint32_t slot, TimePoint now);

  // bulk.cc: streams, and connections that are only held
  void start_bulk(std::uint32_t slot);
  void send_bulk(std::uint32_t slot);
  void receive_bulk(std::uint32_t slot);

  [[nodiscard]] bool exchanges() const noexcept {
    return plan_.mode != LoadMode::stream && plan_.mode != LoadMode::idle;
  }
  [[nodiscard]] std::uint64_t units_moved() const noexcept;
  [[nodiscard]] bool keeps_connections() const noexcept { return plan_.requests_per_connection == 0; }
  [[nodiscard]] std::span<const std::byte> request_of(const Connection& connection) const noexcept;

  const LoadPlan& plan_;
  unsigned index_;
  LoadWindow& window_;
  std::unique_ptr<Ring> ring_;
  std::vector<Connection> connections_;
  std::vector<HttpReader> readers_;
  std::vector<std::byte> request_;
  std::vector<std::byte> last_request_;
  std::vector<std::byte> bulk_;  ///< what streams send
  std::vector<std::byte> drop_;  ///< what nobody reads is received here, by all at once
  SlotQueue free_;               ///< open loop: may take the next request
  SlotQueue to_dial_;
  std::optional<Pacer> pacer_;
  std::optional<Pacer> dial_pacer_;
  Rng rng_;
  bool provided_ = false;  ///< answers come into the ring's own buffers
  std::uint64_t budget_ = 0;
  std::uint64_t outstanding_ = 0;
  std::uint64_t next_source_ = 0;
  std::uint64_t open_ = 0;
  TimePoint start_{};
  TimePoint measure_from_{};
  TimePoint measured_since_{};
  TimePoint end_{};
  TimePoint next_sweep_{};
  Duration sweep_every_;
  enum class Phase : std::uint8_t { warming, measuring } phase_ = Phase::warming;
  LoadCounts at_warm_;
  std::uint64_t units_at_slice_ = 0;
  std::uint64_t late_at_warm_ = 0;
  struct Usage {
    double user = 0, system = 0, wait = 0;
  };
  static Usage usage_of_thread();
  Usage usage_at_warm_;
  RunReport report_;
  Histogram recent_;
};

}  // namespace usher::load
