// World: what is configured, with the ids that outlive a reload. Turns a Config into a Snapshot, whole or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/tallies.h"
#include "usher/config/config.h"
#include "usher/control/prober.h"
#include "usher/control/service.h"
#include "usher/steer/steering.h"
#include "usher/worker/snapshot.h"
#include "usher/worker/worker.h"

namespace usher {

struct BackendEntry {
  BackendId id;
  std::string pool;
  BackendConfig config;
  std::optional<std::uint32_t> operator_weight;
  Intent intent = Intent::enabled;
  bool checked = true;   ///< false: health.type = "none"
  bool removed = false;  ///< gone from the file; its last sessions go on
  TimePoint forget_from; ///< removed only: workers that haven't turned yet, and dials under way, know its id until then
  BackendTally base;     ///< what its id had counted for another backend before
  [[nodiscard]] std::uint32_t weight() const { return operator_weight.value_or(config.weight); }
  [[nodiscard]] std::string label() const { return pool + "/" + config.name; }
};

struct ListenerEntry {
  std::uint32_t id = 0;
  ListenerConfig config;
  bool removed = false;
  TimePoint forget_from;  ///< removed only; likewise
  ListenerTotals base;
};

/// Touched by the control thread only. The board in `shared` is written here and by the prober.
class World {
 public:
  /// How many flows of a backend the kernel datapath has: beside the workers' sessions, they keep one that was removed from being forgotten.
  using KernelFlows = std::function<std::uint64_t(BackendId)>;

  World(Shared& shared, Steering& steering, const Sheets& sheets, KernelFlows kernel_flows = [](BackendId) { return std::uint64_t{0}; });

  /// Takes `config` on. Everything that can fail is done first: on an error nothing has changed. Answers what changed, in
  /// sentences. Afterwards: check_targets() for the prober, snapshot() for the workers. What was
  /// taken out isn't disabled: a worker that still has the old snapshot may have nobody else to send a client to.
  Result<std::vector<std::string>> apply(const Config& config);
  /// Forgets removed backends and listeners whose last session, and last kernel flow, is gone, and whose numbers nobody can still hold.
  void forget_the_gone(TimePoint now);

  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const { return snapshot_; }
  [[nodiscard]] std::vector<ProbeTarget> check_targets() const;
  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] const std::vector<BackendEntry>& backends() const { return backends_; }
  [[nodiscard]] const std::vector<ListenerEntry>& listeners() const { return listeners_; }
  /// What backends that were forgotten had counted for their pool: without it, the pool's histogram would go backwards.
  [[nodiscard]] HistogramTotals retired_connects(const std::string& pool) const {
    const auto retired = retired_connects_.find(pool);
    return retired == retired_connects_.end() ? HistogramTotals{} : retired->second;
  }
  [[nodiscard]] bool pool_ready(const std::string& pool) const;
  Result<void> set_intent(const std::string& pool, const std::string& backend, Intent intent);
  /// A new snapshot stands afterwards.
  Result<void> set_weight(const std::string& pool, const std::string& backend, std::uint32_t weight);

 private:
  struct PoolMemory {
    PoolConfig config;
    std::vector<Backend> backends;
    std::shared_ptr<const PoolPlan> plan;
  };

  BackendEntry* find_entry(const std::string& pool, const std::string& backend);
  Result<std::map<std::string, std::shared_ptr<ListenGroup>>> open_groups(const Config& config);
  Result<void> check_room(const Config& config) const;
  void take_backends(const Config& config, std::vector<std::string>& changes);
  void take_listeners(const Config& config, std::vector<std::string>& changes);
  BackendEntry new_backend(const PoolConfig& pool, const BackendConfig& backend);
  ListenerEntry new_listener(const ListenerConfig& listener);
  std::shared_ptr<const PoolPlan> plan_pool(const PoolConfig& pool);
  void build_snapshot();

  Shared& shared_;
  Steering& steering_;
  const Sheets& sheets_;  ///< one a worker
  const KernelFlows kernel_flows_;
  Config config_;
  std::vector<BackendEntry> backends_;
  std::vector<ListenerEntry> listeners_;
  std::map<std::string, std::shared_ptr<ListenGroup>> groups_;  ///< by address
  std::map<std::string, PoolMemory> pools_;
  std::map<std::string, HistogramTotals> retired_connects_;  ///< by pool
  std::shared_ptr<const Snapshot> snapshot_;
  std::vector<BackendId> free_backend_ids_;
  std::vector<std::uint32_t> free_listener_ids_;
  std::uint32_t next_backend_id_ = 0;
  std::uint32_t next_listener_id_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace usher
