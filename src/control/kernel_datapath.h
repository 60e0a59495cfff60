// KernelDatapath: which listeners the kernel serves, and why; keeps its tables in line with the world.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/network.h"
#include "control/source_ports.h"
#include "control/world.h"
#include "usher/policy/board.h"
#include "usher/steer/kernel_path.h"

namespace usher {

/// Touched by the control thread only.
class KernelDatapath {
 public:
  explicit KernelDatapath(const Board& board) : board_(board) {}

  struct Choice {
    Datapath taken = Datapath::proxy;
    std::string reason = "the configuration asks for it";

    friend bool operator==(const Choice&, const Choice&) = default;
  };

  /// Brings the kernel in line with the configuration, readiness, weights and this host's network. What is as it was costs a comparison.
  /// Answers a sentence for each listener whose choice changed.
  std::vector<std::string> follow(const World& world);
  /// Ends what is over, at its own pace; REQUIRES to be called about once a second.
  void sweep(TimePoint now);
  /// New connections go to the proxy from here on; flows go on.
  void stop_admitting();
  /// Takes the programs off every interface; the flows that are left end.
  void detach_all();

  [[nodiscard]] Choice choice(const std::string& listener) const;
  /// Flows at the last sweep, and of one backend now; 0 without eBPF.
  [[nodiscard]] std::uint64_t flows() const noexcept { return swept_.flows / 2; }
  /// Of these, such as have no whole handshake.
  [[nodiscard]] std::uint64_t half_open() const noexcept { return swept_.half_open / 2; }
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

  Choice choose(const World& world, const ListenerEntry& entry, std::map<std::string, Served>& served);
  Result<void> load();
  Result<std::vector<std::uint32_t>> interfaces_for(const ListenerConfig& listener) const;
  Result<void> put(const std::string& address, Served served, std::uint32_t table_size);
  [[nodiscard]] std::vector<bool> who_may_serve(const std::vector<Backend>& backends) const;
  Result<void> put_backend(const Backend& backend, const Route& route);

  const Board& board_;
  std::unique_ptr<KernelPath> path_;
  std::optional<Error> refused_;  ///< why it couldn't be loaded; tried again with the next configuration
  std::shared_ptr<const Snapshot> refused_for_;
  std::map<std::string, Choice> choices_;
  std::map<std::string, Served> served_;  ///< by address
  std::map<std::uint32_t, KernelBackend> backends_;
  std::vector<Interface> interfaces_;
  std::vector<PortRange> ports_;
  PathSweep swept_{};
  TimePoint sweep_due_;
};

}  // namespace usher
