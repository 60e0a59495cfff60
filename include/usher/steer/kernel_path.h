// KernelPath: eBPF that forwards whole flows on the interfaces that it is attached to; what it is told, and what it counts.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/steer/path_abi.h"

namespace usher {

enum class KernelMode : std::uint8_t { nat, dnat, dsr };
enum class KernelPicking : std::uint8_t { maglev, two_choices };

/// What a flow to a backend that is down gets.
enum class KernelFate : std::uint8_t { keep, reset, move };

struct KernelBackend {
  Endpoint address;
  Endpoint source;  ///< what nat and dsr send from; its port isn't used
  std::uint32_t interface_index = 0;  ///< where it is reached
  std::uint32_t weight = 1;
  KernelFate fate = KernelFate::keep;
  std::uint32_t pool = 0;  ///< a hash of its pool's name

  friend bool operator==(const KernelBackend&, const KernelBackend&) = default;
};

struct KernelService {
  Endpoint address;  ///< 0.0.0.0 or [::] with a port: every address of this host (set_locals)
  KernelMode mode = KernelMode::nat;
  KernelPicking picking = KernelPicking::maglev;
  bool hash_port = false;  ///< the client's port is part of the key
  Duration idle_timeout{};
  Duration half_close_timeout{};  ///< at most 65,535 s

  friend bool operator==(const KernelService&, const KernelService&) = default;
};

struct KernelSettings {
  Duration half_open_timeout = std::chrono::seconds(10);
  Duration closing_timeout = std::chrono::seconds(10);
  /// Source ports of nat, [first, last], at most PATH_PORT_RANGES: such as the stack won't take by itself.
  std::vector<std::pair<std::uint16_t, std::uint16_t>> ports;
};

/// The sum over all processors of a backend's PathCounts, and its flows now.
struct KernelBackendCounts {
  PathCounts sums{};
  std::uint64_t active = 0;
};

/// How a program is attached to an interface: by a tcx link, or, where the kernel is older than those (6.6), by a filter of its clsact qdisc.
enum class TcWay : std::uint8_t { tcx, clsact };
/// Of such filters. tc(8) gives one without a priority 49152, the next one 49151, and so on: a lower number is asked first.
constexpr std::uint32_t filter_priority = 50'000;

struct KernelPathOptions {
  std::uint32_t flows_max = 200'000;      ///< flows, both directions counted as one
  std::uint32_t half_open_max = 32'768;
  /// Where maps and hooks are pinned, in a mounted BPF file system, so that flows outlive this process; empty: they don't.
  std::string pin_folder;
};

/// Owned by the control thread; not thread safe. What it has set stays in the kernel until it is changed; what it has attached stays until
/// detach() or withdraw(), or, where it isn't pinned, until it is destroyed. Pinned, both outlive the process, and the next load_kernel_path()
/// takes them up. Sources: bpf(2), tcx (kernel/bpf/tcx.c), tc-bpf(8), bpf-helpers(7).
class KernelPath {
 public:
  virtual ~KernelPath() = default;

  /// From here on packets that come in there meet the program. Already attached: nothing happens. Answers which way it is. Errors name the
  /// interface.
  virtual Result<TcWay> attach(std::uint32_t interface_index) = 0;
  virtual void detach(std::uint32_t interface_index) = 0;
  [[nodiscard]] virtual std::vector<std::uint32_t> attached() const = 0;
  /// Takes the programs off every interface and unpins everything: flows end here. The error names what stayed pinned.
  virtual Result<void> withdraw() = 0;

  /// What loading met, in sentences: what was taken up, or why nothing outlives this process.
  [[nodiscard]] virtual const std::vector<std::string>& remarks() const = 0;
  /// What stood in the maps that were taken up; nothing where they are new.
  [[nodiscard]] virtual std::vector<std::pair<std::uint32_t, KernelBackend>> left_backends() const = 0;
  [[nodiscard]] virtual std::vector<Endpoint> left_services() const = 0;

  virtual Result<void> set(const KernelSettings& settings) = 0;
  /// REQUIRES: number < PATH_BACKENDS_MAX. Flows to it follow a change of its fate, and keep the address that they have.
  virtual Result<void> put_backend(std::uint32_t number, const KernelBackend& backend) = 0;
  /// Forgets what was counted under a number that is to be another backend's. REQUIRES: it has no flows.
  virtual Result<void> clear_counts(std::uint32_t number) = 0;
  /// `table` says for each slot which backend stands there (Maglev; a backend has slots by its weight); empty: new connections go to the proxy.
  /// New flows go by it from here on, old ones stay. The swap is one pointer's.
  virtual Result<void> put_service(const KernelService& service, std::span<const std::uint32_t> table) = 0;
  /// New connections to it go to the stack; its flows stay until they end.
  virtual void remove_service(const Endpoint& address) = 0;
  /// This host's own addresses, for services that listen on all; their ports aren't used.
  virtual Result<void> set_locals(std::span<const Endpoint> addresses) = 0;

  /// Ends what is over or idle, and counts flows anew. Runs in the kernel; some 50 ns an entry.
  virtual Result<PathSweep> sweep() = 0;
  /// Established flows of all backends that aren't over, those of backends that are no longer configured too; exact after a sweep.
  [[nodiscard]] virtual std::uint64_t active() = 0;
  [[nodiscard]] virtual KernelBackendCounts counts(std::uint32_t number) = 0;
  [[nodiscard]] virtual std::array<std::uint64_t, PATH_VERDICTS> verdicts() = 0;
};

/// Loads the programs. Where `pin_folder` has maps of this ABI and shape, they are taken up with the flows in them, and the programs on the
/// interfaces whose hooks are pinned there are replaced in place; what doesn't fit is replaced whole, and its flows end. Where nothing can be
/// pinned it works all the same, and remarks() says why. The error says what is missing: privilege, the kernel's age.
Result<std::unique_ptr<KernelPath>> load_kernel_path(const KernelPathOptions& options);

/// Whether an earlier process has left something there.
bool kernel_path_is_left(const std::string& pin_folder);
/// The interfaces of this network namespace that have a clsact filter of who has that folder, pinned or not.
std::vector<std::string> interfaces_with_filters(const std::string& pin_folder);
/// Detaches and unpins it: its flows end. Answers what was done, in a sentence. The error says why not: a process that runs has it, privilege.
Result<std::string> remove_kernel_path(const std::string& pin_folder);

}  // namespace usher
