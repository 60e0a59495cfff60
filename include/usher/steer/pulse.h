// Pulse: eBPF counts, per backend, how the connections that usher's workers dial fare; without eBPF nothing is counted, and nobody minds.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/steer/path_abi.h"

namespace usher {

struct PulseBackend {
  Endpoint address;
  std::uint32_t number = 0;  ///< below PATH_BACKENDS_MAX
};

/// Owned by the control thread; not thread safe. What is counted, and when: bpf/pulse.bpf.c. `bytes_in` and `bytes_out` of its
/// PathCounts are those of the streams, each byte once, without headers; `packets_*` are all segments. A socket tells what it
/// has moved at its end, and before that at most once a second, when an acknowledgment has been timed: one that only receives
/// tells at its end. Sources: bpf(2), BPF_PROG_TYPE_SOCK_OPS (net/core/filter.c, net/ipv4/tcp_input.c).
class Pulse {
 public:
  virtual ~Pulse() = default;

  /// The threads, as gettid(2) names them, whose connections count. Before this is called none does.
  virtual Result<void> set_workers(std::span<const std::uint32_t> thread_ids) = 0;
  /// The list whole; sockets that were dialled before keep the number that they have. Of several with one address the first counts: two
  /// backends of one server can't be told apart here. Numbers from PATH_BACKENDS_MAX on are left out.
  virtual Result<void> set_backends(std::span<const PulseBackend> backends) = 0;
  /// The sum over all processors since it was loaded; zeros without eBPF. Never falls. What can't be read stays as it was read last.
  [[nodiscard]] virtual PathCounts counts(std::uint32_t number) = 0;

  [[nodiscard]] virtual bool active() const noexcept = 0;
  /// "ebpf", or "not counted: " and why.
  [[nodiscard]] virtual std::string describe() const = 0;
};

/// Loads the program and attaches it to the cgroup v2 that this process is in; where that isn't possible the null object comes
/// back, and describe() says why. Never fails. Needs CAP_BPF, CAP_PERFMON (it reads the kernel's sockets), CAP_NET_ADMIN (a
/// cgroup's programs), cgroup v2, the kernel's BTF, and Linux 6.10, from which on the program may ask which thread dials.
/// Detached when it is destroyed.
std::unique_ptr<Pulse> make_pulse();

/// The null object itself.
std::unique_ptr<Pulse> make_null_pulse(std::string reason);

/// Adds each of the counts of `one` to `sum`.
void add(PathCounts& sum, const PathCounts& one) noexcept;

/// The word for a verdict in metrics: "forwarded", "no_port".
[[nodiscard]] std::string_view name(PathVerdict verdict) noexcept;

}  // namespace usher
