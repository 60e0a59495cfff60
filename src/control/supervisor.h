// Supervisor: the control thread. Builds the house, answers the Service, reloads, watches over the workers, drains.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/commands.h"
#include "control/event_log.h"
#include "control/kernel_counts.h"
#include "control/kernel_datapath.h"
#include "control/limits.h"
#include "control/secrets.h"
#include "control/tallies.h"
#include "control/world.h"
#include "usher/control/prober.h"
#include "usher/control/run.h"
#include "usher/control/service.h"
#include "usher/steer/steering.h"
#include "usher/worker/worker.h"

namespace usher {

class Supervisor final : public Service {
 public:
  /// Builds everything, in the order in which the members stand. The error says what stopped it.
  static Result<std::unique_ptr<Supervisor>> build(const Config& config, const RunOptions& options);
  ~Supervisor() override;

  /// Serves until a drain is over. The exit status.
  int serve();
  /// Thread safe.
  void request_stop();

  StatusReport status() override;
  std::vector<ListenerReport> listeners() override;
  std::vector<BackendReport> backends() override;
  std::vector<ConnectionReport> connections(std::size_t max) override;
  std::vector<Event> events(std::size_t max) override;
  std::string config_text() override;
  Totals totals() override;
  Result<void> set_intent(const std::string& pool, const std::string& backend, Intent intent) override;
  Result<void> set_weight(const std::string& pool, const std::string& backend, std::uint32_t weight) override;
  ReloadReport reload() override;
  bool ready() override;

 private:
  Supervisor(const Config& config, const RunOptions& options, Limits limits, Fd wake, Fd signals);

  // On the control thread (supervisor.cc).
  Result<void> start(const Config& config);
  /// Gives the prober the present list, and forgets what is no longer checked.
  void retarget();
  void await_first_verdicts(Duration patience);
  void read_signals();
  void housekeep();
  void speak_of_shortages();
  void begin_drain();
  ReloadReport reload_here();
  void publish();
  /// Brings the kernel datapath in line with the world, and says what changed.
  void follow_with_the_kernel();
  /// Closes the sessions of backends that went down, in pools that want it so.
  void close_on_down();
  /// A drain's part of it: whether it is over, and the end of what is left.
  [[nodiscard]] bool kernel_drained();
  void withdraw_from_kernel();
  void on_verdict(BackendId id, const std::string& label, const Flip& flip, bool first);
  [[nodiscard]] bool workers_moved();
  [[nodiscard]] std::string one_line() const;

  // On the control thread (reports.cc).
  StatusReport report_status();
  std::vector<ListenerReport> report_listeners();
  std::vector<BackendReport> report_backends();
  BackendReport report_backend(const BackendEntry& entry);
  std::vector<ConnectionReport> report_connections(std::size_t max);
  Totals report_totals();
  [[nodiscard]] bool ready_here() const;
  [[nodiscard]] std::uint64_t accepted_so_far() const;

  RunOptions options_;
  const Limits limits_;
  const WallTime started_wall_ = std::chrono::system_clock::now();
  const TimePoint started_ = Clock::now();
  EventLog events_;
  Commands commands_;
  Fd signals_;
  Sheets sheets_;
  Shared shared_;
  std::unique_ptr<Steering> steering_;
  std::unique_ptr<World> world_;
  std::unique_ptr<KernelDatapath> kernel_;
  std::unique_ptr<KernelCounts> kernel_counts_;
  std::atomic<bool> readiness_changed_{false};  ///< a verdict came: the kernel's tables are to follow
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Prober> prober_;
  std::shared_ptr<void> guest_;  ///< what on_started gave: the admin server

  Phase phase_ = Phase::starting;
  std::atomic<bool> stop_requested_{false};
  bool drain_hurried_ = false;
  TimePoint drain_deadline_;
  std::string config_text_;
  std::optional<WallTime> reloaded_;
  std::string last_reload_error_;
  std::uint64_t reloads_applied_ = 0;
  std::uint64_t reloads_refused_ = 0;
  std::optional<Duration> watchdog_;
  TimePoint watchdog_due_;
  TimePoint housekeeping_due_;
  std::vector<std::uint64_t> turns_seen_;
  std::map<std::string, std::pair<std::uint64_t, TimePoint>> shortages_;  ///< what ran short: how often, and when it was last said

  std::mutex checked_lock_;                        ///< the prober's thread and control's
  std::map<std::uint32_t, std::string> checked_;  ///< labels of the backends that are checked, by id
  std::map<std::uint32_t, WallTime> since_;       ///< of each one's present health; no entry: not judged yet
  std::vector<BackendId> went_down_;              ///< and nobody has looked whether their sessions are to be closed
};

}  // namespace usher
