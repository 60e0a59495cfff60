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

/// One reuseport group's program, its sockets in place. Destroying it leaves the group with the program until its sockets
/// close, which is what a drain wants.
class SteeredGroup {
 public:
  virtual ~SteeredGroup() = default;
};

/// Owned by the control thread; only worker_load() may be used elsewhere. See bpf/steer.bpf.c for the choice itself.
class Steering {
 public:
  virtual ~Steering() = default;

  /// Attaches to one SO_REUSEPORT group: `sockets[i]` is the listening socket of worker i, all bound to one address and listening. On an error
  /// the group is left to the kernel's hash; the caller goes on. (SO_ATTACH_REUSEPORT_EBPF, socket(7); BPF_PROG_TYPE_SK_REUSEPORT.)
  virtual Result<std::unique_ptr<SteeredGroup>> attach(std::span<const Fd* const> sockets) = 0;

  /// Where worker `index` publishes how many sessions it holds; never null (a private word when there is no eBPF).
  virtual std::atomic<std::uint32_t>* worker_load(std::uint32_t index) = 0;

  [[nodiscard]] virtual bool active() const noexcept = 0;
  /// "ebpf", or "kernel hash: " and why: one sentence for the log and for usher status.
  [[nodiscard]] virtual std::string describe() const = 0;
};

/// Loads the program for `workers` workers; where that isn't possible (built without eBPF, no privilege, an old kernel) the
/// null object comes back and describe() says why. Never fails.
std::unique_ptr<Steering> make_steering(std::uint32_t workers);

}  // namespace usher
