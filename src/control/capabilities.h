// Capabilities: what of root's power this thread has, and what the kernel datapath needs of it (capabilities(7)).
#pragma once

#include <cstdint>
#include <string_view>

#include "usher/base/error.h"

namespace usher {

/// A set of them, bit N for the capability of number N. Linux keeps one a thread: the others' don't follow.
using Capabilities = std::uint64_t;

namespace capability {
// Numbers of linux/capability.h; the last two are newer than some C libraries' copies.
constexpr Capabilities net_bind_service = Capabilities{1} << 10;
constexpr Capabilities net_admin = Capabilities{1} << 12;
constexpr Capabilities sys_admin = Capabilities{1} << 21;
constexpr Capabilities sys_resource = Capabilities{1} << 24;
constexpr Capabilities perfmon = Capabilities{1} << 38;
constexpr Capabilities bpf = Capabilities{1} << 39;
}  // namespace capability

/// Who lacks one of these is told this.
constexpr std::string_view kernel_privilege_cure =
    "run as root, or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: under systemd by the drop-in usher.service.d/kernel.conf, which is "
    "installed among the examples (share/doc/usher/examples); else by setcap cap_bpf,cap_net_admin,cap_perfmon+ep on the binary";

/// The calling thread's effective ones (capget(2)); none where it can't be told.
Capabilities own_capabilities();
/// From here on the calling thread has these alone, of those that it was permitted (capset(2)), and hands none on to what it executes.
Result<void> keep_capabilities(Capabilities kept);

}  // namespace usher
