// KernelDatapath: which listeners the kernel serves, and why; keeps its tables in line with the world.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/kernel_numbers.h"
#include "control/network.h"
#include "control/source_ports.h"
#include "control/world.h"
#include "usher/base/log.h"
#include "usher/policy/board.h"
#include "usher/steer/kernel_path.h"

namespace usher {

/// Where the kernel datapath of an usher with this configuration is pinned: by its admin socket, so that two on one host don't meet. Pure.
std::string kernel_pin_folder(const AdminConfig& admin);
/// Whether a BPF file system is mounted there, or above.
bool on_bpf_file_system(const std::string& path);

/// Touched by the control thread only. Destroyed without withdraw(), it leaves what is pinned to the next usher of its configuration.
class KernelDatapath {
 public:
  /// Whether a backend has been judged by its checks since it is known here: before, that it isn't healthy says nothing.
  using Judged = std::function<bool(BackendId)>;

  KernelDatapath(const Board& board, std::string pin_folder) : board_(board), pin_folder_(std::move(pin_folder)) {}

  struct Choice {
    Datapath taken = Datapath::proxy;
    std::string reason = "the configuration asks for it";
    std::string cure;  ///< of a reason that is in the way

    friend bool operator==(const Choice&, const Choice&) = default;
  };

  /// A sentence for the log and the events.
  struct Said {
    LogLevel level = LogLevel::info;
    std::string text;
  };

  /// Brings the kernel in line with the configuration, readiness, weights and this host's network. What is as it was costs a comparison.
  /// What an earlier usher left is taken up first; what nothing asks for any more is detached once its last flow has ended.
  /// Answers a sentence for each listener whose choice changed, and for what came and went; a warning where the proxy serves what the
  /// configuration wants the kernel to serve.
  std::vector<Said> follow(const World& world, const Judged& judged);
  /// Ends what is over, at its own pace; REQUIRES to be called about once a second.
  void sweep(TimePoint now);
  /// New connections go to the proxy from here on; flows go on. From here on sweep() goes faster.
  void stop_admitting(TimePoint now);
  /// After stop_admitting(): whether no flow is left whose packets still have to pass. Followed by sweep().
  [[nodiscard]] bool settled(TimePoint now) const;
  /// Detaches and unpins everything; the flows that are left end. Answers what was done, in a sentence; "" where nothing was loaded.
  std::string withdraw();

  [[nodiscard]] Choice choice(const std::string& listener) const;
  /// Flows at the last sweep, and of one backend now; 0 without eBPF.
  [[nodiscard]] std::uint64_t flows() const noexcept { return swept_.flows; }
  /// Of these, established and not over.
  [[nodiscard]] std::uint64_t active() const noexcept { return active_; }
  /// Of these, such as have no whole handshake.
  [[nodiscard]] std::uint64_t half_open() const noexcept { return swept_.half_open; }
  [[nodiscard]] KernelBackendCounts counts(BackendId backend);
  /// How the program treated packets; REQUIRES: loaded().
  [[nodiscard]] std::array<std::uint64_t, PATH_VERDICTS> verdicts() { return path_->verdicts(); }
  [[nodiscard]] bool loaded() const noexcept { return path_ != nullptr; }

 private:
  /// What one address of a listener is served by, as it was set last.
  struct Served {
    KernelService service;
    std::vector<Backend> backends;
    std::vector<bool> may_serve;
  };

  /// A backend of a listener's pool, and the way to it where there is one.
  struct Member {
    const BackendEntry* entry = nullptr;
    std::optional<Route> route;
  };

  Choice choose(const World& world, const ListenerEntry& entry, std::map<std::string, Served>& served);
  Result<void> load();
  void take_up(std::vector<Said>& said);
  void clear_away(const World& world, const std::map<std::string, Served>& served, std::vector<Said>& said);
  [[nodiscard]] KernelFate fate_of(const BackendEntry& backend, const PoolConfig& pool) const;
  Result<std::uint32_t> number_of(const BackendEntry& backend);
  Result<void> put(const std::string& address, Served served, std::uint32_t table_size);
  [[nodiscard]] std::vector<bool> who_may_serve(const std::vector<Backend>& backends) const;
  Result<void> give_to_kernel(const ListenerConfig& listener, const PoolConfig& pool, const std::vector<Member>& members,
                              const std::vector<std::uint32_t>& interfaces, std::map<std::string, Served>& served, std::string& elsewhere);
  Result<void> put_member(const Member& member, const PoolConfig& pool);
  Result<void> put_backend(std::uint32_t number, const KernelBackend& backend);

  const Board& board_;
  const std::string pin_folder_;
  bool looked_for_left_ = false;  ///< whether an earlier usher left something: asked once
  const Judged* judged_ = nullptr;  ///< during follow()
  std::unique_ptr<KernelPath> path_;
  std::optional<Error> refused_;  ///< why it couldn't be loaded or used; tried again with the next configuration
  std::shared_ptr<const Snapshot> refused_for_;
  std::optional<Error> failed_;  ///< what went wrong after loading, in this follow()
  std::map<std::string, Choice> choices_;
  std::map<std::string, Served> served_;  ///< by address
  KernelNumbers numbers_{PATH_BACKENDS_MAX};
  std::map<std::uint32_t, std::uint32_t> number_by_id_;  ///< of each BackendId that the kernel knows; no number stands twice
  std::map<std::uint32_t, KernelBackend> backends_;      ///< by number, as they were set last
  std::set<std::uint32_t> interfaces_wanted_;
  std::vector<std::string> unsaid_;  ///< what loading met
  std::vector<Interface> interfaces_;
  std::optional<Error> network_unknown_;  ///< why no interface could be listed
  std::vector<PortRange> ports_;
  PathSweep swept_{};
  std::uint64_t active_ = 0;
  TimePoint sweep_due_;
  std::optional<TimePoint> stopped_at_;  ///< since when nothing is admitted
  std::optional<TimePoint> swept_at_;
  std::optional<TimePoint> idle_since_;  ///< since when no flow is active, as sweeps saw it
};

}  // namespace usher
