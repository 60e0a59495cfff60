// The doctor: what this kernel, these privileges and these limits allow, found out beforehand.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "usher/base/error.h"
#include "usher/config/config.h"

namespace usher {

enum class Fitness { ok, degraded, missing };
[[nodiscard]] std::string_view name(Fitness fitness) noexcept;

struct Finding {
  std::string what;  ///< "io_uring", "listener web"
  Fitness fitness = Fitness::ok;
  std::string says;  ///< what was found, a phrase
  std::string cure;  ///< what to do; "" where nothing is to be done
  bool needed = false;  ///< the file (without one: usher itself) can't do without it
};

/// What a network interface is to the kernel datapath.
struct InterfaceFact {
  std::string name;
  bool fits = false;
};

/// Why a listener of the file would be the proxy's here, and what to do where that isn't wanted.
struct ListenerObstacle {
  std::string listener;
  std::string why;
  std::string cure;
};

/// What was found on this host. nullopt of an Error: it works.
struct HostFacts {
  std::optional<Error> io_uring;
  std::uint32_t io_uring_disabled = 0;  ///< kernel.io_uring_disabled: 0, 1 (without privilege), 2
  std::uint64_t descriptors_max = 0;    ///< the hard RLIMIT_NOFILE
  std::uint64_t pipe_pages = 0;         ///< fs.pipe-user-pages-soft; 0 = no ration
  bool beyond_ration = false;           ///< CAP_SYS_RESOURCE or CAP_SYS_ADMIN: the ration doesn't bind this process (pipe(7))
  std::uint32_t workers = 1;
  bool may_bpf = false;        ///< CAP_BPF, or CAP_SYS_ADMIN, which has it in it
  bool may_perfmon = false;    ///< CAP_PERFMON, likewise
  bool may_net_admin = false;  ///< CAP_NET_ADMIN
  std::optional<Error> reuseport;
  std::optional<Error> kernel_path;
  bool clsact = false;  ///< it attaches by a clsact filter: the kernel has no tcx
  std::optional<Error> sock_ops;
  bool btf = false;
  bool bpf_file_system = false;
  std::optional<Error> pins;  ///< why this process can't pin there
  std::string pin_folder;     ///< where that would be
  std::optional<Error> network;  ///< why no interface could be listed
  std::vector<InterfaceFact> interfaces;
  std::vector<std::pair<std::uint16_t, std::uint16_t>> ports;  ///< source ports that the stack leaves
  std::vector<ListenerObstacle> obstacles;  ///< no entry: the kernel datapath could serve that listener
};

/// Tries everything, and leaves nothing behind. A few milliseconds; some hundred where programs are loaded.
HostFacts examine_host(const std::optional<Config>& config);
/// The report, in the order in which it is shown. Pure.
std::vector<Finding> judge_host(const HostFacts& facts, const std::optional<Config>& config);

}  // namespace usher
