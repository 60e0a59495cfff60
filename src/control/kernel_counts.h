// KernelCounts: what eBPF has counted for each backend and listener, from the packet path and from the sockets that workers dial.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/kernel_datapath.h"
#include "control/world.h"
#include "usher/metrics/exposition.h"
#include "usher/metrics/kernel_totals.h"
#include "usher/steer/pulse.h"

namespace usher {

/// Sums that never fall, made of readings that may: a map begins at zero again when its program is loaded anew, and a backend that takes
/// another's number begins at zero whatever the map has. A value.
class KernelLedger {
 public:
  /// What the kernel has under a backend's number now; what isn't loaded says nothing, and is left as it was.
  struct Reading {
    std::optional<PathCounts> proxy;   ///< of the sockets that workers dial
    std::optional<PathCounts> kernel;  ///< of the packet path
  };

  /// From here on the number is this one's. Nothing is counted yet.
  void begin(std::uint32_t number, std::string label, const Reading& reading);
  /// Adds what came since the last reading. Answers how many connections the packet path has seen established meanwhile.
  std::uint64_t note(std::uint32_t number, const Reading& reading);
  void forget(std::uint32_t number) { rows_.erase(number); }
  /// "" where nobody has the number.
  [[nodiscard]] std::string label(std::uint32_t number) const;
  [[nodiscard]] std::vector<std::uint32_t> numbers() const;
  [[nodiscard]] const KernelTotals* find(std::uint32_t number) const;

 private:
  struct Row {
    std::string label;
    PathCounts proxy_seen{};
    PathCounts kernel_seen{};
    KernelTotals sums;
  };
  std::map<std::uint32_t, Row> rows_;
};

/// Touched by the control thread only.
class KernelCounts {
 public:
  KernelCounts(std::unique_ptr<Pulse> pulse, KernelDatapath& kernel) : pulse_(std::move(pulse)), kernel_(kernel) {}

  /// The threads whose connections count.
  void count_workers(std::span<const std::uint32_t> thread_ids);
  /// Reads everything, and follows the world: to be called whenever it or a datapath has changed, and before anything below is asked.
  void follow(const World& world);

  /// Empty until eBPF has counted for the first time; from then on never again.
  [[nodiscard]] std::optional<KernelTotals> of(BackendId backend) const;
  /// Empty where the kernel doesn't serve it, or serves another listener with the same pool: packets are counted by backend.
  [[nodiscard]] std::optional<KernelListenerTotals> of_listener(const std::string& listener) const;
  /// Fills in what belongs to no backend.
  void describe_path(Totals& totals) const;
  [[nodiscard]] std::string describe() const { return pulse_->describe(); }

 private:
  [[nodiscard]] KernelLedger::Reading read(std::uint32_t number);
  void follow_backends(const World& world);
  void follow_listeners(const World& world);

  std::unique_ptr<Pulse> pulse_;
  KernelDatapath& kernel_;
  KernelLedger ledger_;
  bool counted_ = false;
  std::vector<PulseBackend> told_;                     ///< the backends that the pulse has
  std::string complained_;                             ///< what the pulse refused last
  std::map<std::uint32_t, std::string> pool_of_;       ///< of each number in the ledger
  std::map<std::string, std::string> alone_;           ///< pool -> the only listener that the kernel serves from it
  std::map<std::string, std::uint64_t> established_;   ///< by listener
  std::map<std::string, KernelListenerTotals> listeners_;
  std::array<std::uint64_t, PATH_VERDICTS> verdicts_seen_{};
  std::array<std::uint64_t, PATH_VERDICTS> verdicts_{};
  bool path_counted_ = false;
};

}  // namespace usher
