// Trials by the same calls that are made when it counts.
#include "usher/steer/trial.h"

#ifdef USHER_HAVE_BPF

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>

#include "steer/libbpf_log.h"
#include "usher/base/fd.h"

namespace usher {
namespace {

/// Where the unified hierarchy is mounted, by proc_pid_mountinfo(5): "... MOUNT_POINT OPTIONS [TAGS] - cgroup2 ...".
std::string unified_mount() {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    std::istringstream words(line);
    std::string id, parent, device, root, point;
    if (words >> id >> parent >> device >> root >> point) return point;
  }
  return "";
}

/// This process's group below it: the line "0::/PATH" of /proc/self/cgroup.
std::string own_group() {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return "";
}

}  // namespace

Result<TcWay> try_kernel_path() {
  const auto path = load_kernel_path({.flows_max = 64, .half_open_max = 64, .pin_folder = ""});
  if (!path) return std::unexpected(path.error());
  const unsigned loopback = ::if_nametoindex("lo");
  if (loopback == 0) return fail_system("there is no loopback interface to try it on");
  return (*path)->attach(loopback);
}

Result<void> try_sock_ops() {
  libbpf_set_print(print_to_debug_log);
  const std::string mount = unified_mount();
  if (mount.empty()) return fail("no cgroup2 file system is mounted (mount -t cgroup2 none /sys/fs/cgroup)");
  const Fd group(::open((mount + own_group()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group) return fail_system(fmt::format("can't open {}{}", mount, own_group()));
  const bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 1},
                              {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  const Fd program(bpf_prog_load(BPF_PROG_TYPE_SOCK_OPS, "usher_trial", "GPL", nothing, std::size(nothing), nullptr));
  if (!program) return std::unexpected(kernel_refused("loading a sock_ops program refused", errno));
  const Fd link(bpf_link_create(program.number(), group.number(), BPF_CGROUP_SOCK_OPS, nullptr));
  if (!link) return std::unexpected(kernel_refused(fmt::format("attaching to {}{} refused", mount, own_group()), errno));
  return {};
}

}  // namespace usher

#else

namespace usher {
Result<TcWay> try_kernel_path() { return fail("built without eBPF"); }
Result<void> try_sock_ops() { return fail("built without eBPF"); }
}  // namespace usher

#endif  // USHER_HAVE_BPF
