// Steering: eBPF chooses the worker of a new connection; without eBPF the kernel's own hash does, and nobody minds.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher {

/// How the program decided, one word a reason, over all groups since start. All zero without eBPF.
struct SteeringCounts {
  std::uint64_t chosen = 0;         ///< the less loaded of the two got it
  std::uint64_t second_choice = 0;  ///< that one's socket had left; the other got it
  std::uint64_t fell_back = 0;      ///< both had left; the kernel's hash chose
  std::uint64_t migrated = 0;       ///< waited in the queue of a listener that closed, and moved to another's

  friend bool operator==(const SteeringCounts&, const SteeringCounts&) = default;
};

/// One reuseport group's program, its sockets in place. Destroying it leaves the group with the program until its
/// sockets close, which is what a drain wants. May outlive its Steering.
class SteeredGroup {
 public:
  virtual ~SteeredGroup() = default;
};

/// Owned by the control thread; only worker_load() and its word may be used elsewhere. See bpf/steer.bpf.c for the
/// choice itself.
class Steering {
 public:
  virtual ~Steering() = default;

  /// Attaches to one SO_REUSEPORT group: `sockets[i]` is the listening socket of worker i, all bound to one address and
  /// listening. On an error the group is left to the kernel's hash; the caller goes on. (SO_ATTACH_REUSEPORT_EBPF,
  /// socket(7); BPF_PROG_TYPE_SK_REUSEPORT.)
  ///
  /// The kernel allows a socket one group in its life: attaching it again is an error (EBUSY). Loading needs CAP_BPF
  /// at the time of the call. The program also moves what waits in the queue of a closing listener to
  /// another worker's, as net.ipv4.tcp_migrate_req=1 would. Without eBPF the answer is a group that does nothing, not
  /// an error.
  virtual Result<std::unique_ptr<SteeredGroup>> attach(std::span<const Fd* const> sockets) = 0;

  /// Where worker `index` publishes how many sessions it holds; never null (a private word when there is no eBPF).
  /// Valid as long as the Steering. An index from make_steering's `workers` on gets one shared word that nobody reads.
  virtual std::atomic<std::uint32_t>* worker_load(std::uint32_t index) = 0;

  /// Connections sent to worker `index` since start; 0 without eBPF. Connections chosen by the kernel's hash aren't in
  /// it.
  [[nodiscard]] virtual std::uint64_t steered_to(std::uint32_t index) const = 0;
  [[nodiscard]] virtual SteeringCounts counts() = 0;

  [[nodiscard]] virtual bool active() const noexcept = 0;
  /// "ebpf", or "kernel hash: " and why: one sentence for the log and for usher status.
  [[nodiscard]] virtual std::string describe() const = 0;
};

/// Loads the program for `workers` workers; where that isn't possible (built without eBPF, no privilege, an old kernel)
/// the null object comes back and describe() says why. Never fails. From here on libbpf's messages go to the debug log.
std::unique_ptr<Steering> make_steering(std::uint32_t workers);

/// The null object itself, for who switches steering off: describe() answers "kernel hash: " and `reason`.
std::unique_ptr<Steering> make_null_steering(std::uint32_t workers, std::string reason);

}  // namespace usher
