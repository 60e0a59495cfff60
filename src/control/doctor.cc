// The doctor's judgement: facts and a file to findings, nothing else.
#include "usher/control/doctor.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "control/capabilities.h"
#include "control/kernel_way.h"
#include "control/limits.h"

namespace usher {
namespace {

bool has_all(const HostFacts& facts) { return facts.may_bpf && facts.may_net_admin && facts.may_perfmon; }

Finding io_uring(const HostFacts& facts) {
  if (!facts.io_uring) return {.what = "io_uring", .fitness = Fitness::ok, .says = "works", .cure = "", .needed = true};
  const std::string cure = facts.io_uring_disabled != 0 ? "sysctl kernel.io_uring_disabled=0"
                           : facts.io_uring->code == ENOSYS ? "a kernel of 6.1 or newer, with CONFIG_IO_URING"
                           : facts.io_uring->code == ENOMEM ? "raise RLIMIT_MEMLOCK, or the memory of this control group"
                                                            : "the container's seccomp filter must allow io_uring_setup, _enter and _register";
  return {.what = "io_uring", .fitness = Fitness::missing, .says = facts.io_uring->message, .cure = cure, .needed = true};
}

Finding descriptors(const HostFacts& facts, const std::optional<Config>& config) {
  const GlobalConfig global = config ? config->global : GlobalConfig{};
  std::uint32_t addresses = 0;
  std::uint32_t backends = 0;
  if (config) {
    for (const ListenerConfig& listener : config->listeners) addresses += static_cast<std::uint32_t>(listener.bind.size());
    for (const PoolConfig& pool : config->pools) backends += static_cast<std::uint32_t>(pool.backends.size());
  }
  Finding finding{.what = "descriptors", .fitness = Fitness::ok, .says = "", .cure = "", .needed = true};
  const auto limits = divide_descriptors(facts.descriptors_max, facts.workers, addresses, backends, global.max_connections);
  if (!limits) {
    finding.fitness = Fitness::missing;
    finding.says = fmt::format("RLIMIT_NOFILE is {}: too few to start", facts.descriptors_max);
    finding.cure = "LimitNOFILE= in the unit, ulimit -Hn in a shell";
    return finding;
  }
  finding.says = fmt::format("RLIMIT_NOFILE is {}: room for {} of {} connections", facts.descriptors_max, limits->sessions_max, global.max_connections);
  if (limits->remark.empty()) return finding;
  finding.fitness = Fitness::degraded;
  finding.cure = fmt::format("LimitNOFILE= in the unit, or ulimit -Hn in a shell: {} or more; or a smaller global.max_connections",
                             std::uint64_t{global.max_connections} * 2 + std::uint64_t{global.max_connections} / 7 + 1024);
  return finding;
}

Finding pipe_pages(const HostFacts& facts) {
  Finding finding{.what = "pipe pages", .fitness = Fitness::ok, .says = "", .cure = "", .needed = false};
  const std::uint16_t wanted = share_pipe_pages(0, facts.workers);
  const std::uint16_t share = share_pipe_pages(facts.pipe_pages, facts.workers);
  finding.says = facts.pipe_pages == 0 ? "no ration" : fmt::format("fs.pipe-user-pages-soft is {}: {} large pipes a worker", facts.pipe_pages, share);
  if (facts.beyond_ration || share >= wanted) return finding;
  finding.fitness = Fitness::degraded;
  finding.says += fmt::format(", {} are the most that help", wanted);
  finding.cure = fmt::format("sysctl fs.pipe-user-pages-soft={}", std::max<std::uint64_t>(facts.pipe_pages, 1) * wanted / std::max<std::uint16_t>(share, 1));
  return finding;
}

Finding privilege(const HostFacts& facts, const std::optional<Config>& config) {
  Finding finding{.what = "privilege", .fitness = Fitness::ok, .says = "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", .cure = "", .needed = false};
  if (has_all(facts)) {
    finding.says += config && !config->global.user.empty() ? fmt::format(", which stay with global.user = \"{}\"", config->global.user)
                                                           : " (here; the service has what its unit gives it)";
    return finding;
  }
  std::vector<std::string_view> has;
  std::vector<std::string_view> lacks;
  for (const auto& [may, name] : {std::pair{facts.may_bpf, "CAP_BPF"}, std::pair{facts.may_net_admin, "CAP_NET_ADMIN"}, std::pair{facts.may_perfmon, "CAP_PERFMON"}}) {
    (may ? has : lacks).emplace_back(name);
  }
  finding.fitness = has.empty() ? Fitness::missing : Fitness::degraded;
  finding.says = fmt::format("no {}: the proxy serves, without the kernel datapath", fmt::join(lacks, ", no "));
  if (!facts.may_bpf) finding.says += ", steering and counters";
  finding.cure = kernel_privilege_cure;
  return finding;
}

/// A feature that was tried. Without privilege nothing is known of the kernel.
Finding feature(std::string what, const std::optional<Error>& refused, bool privileged, std::string_view gives, std::string_view without,
                std::string_view cure) {
  Finding finding{.what = std::move(what), .fitness = Fitness::ok, .says = std::string(gives), .cure = "", .needed = false};
  if (!refused) return finding;
  finding.fitness = privileged ? Fitness::missing : Fitness::degraded;
  finding.says = privileged ? fmt::format("{} ({})", without, refused->message) : fmt::format("{} (can't be tried without the privilege)", without);
  finding.cure = privileged ? cure : "see privilege, and ask again";
  return finding;
}

Finding tcx(const HostFacts& facts) {
  if (!facts.kernel_path && facts.clsact) {
    return {.what = "tcx", .fitness = Fitness::degraded, .says = "not in this kernel: the kernel datapath's programs attach by clsact filters",
            .cure = "a kernel of 6.6 or newer, with CONFIG_NET_XGRESS", .needed = false};
  }
  return feature("tcx", facts.kernel_path, facts.may_bpf && facts.may_net_admin, "the kernel datapath's programs load and attach", "no kernel datapath",
                 "a kernel with CONFIG_BPF_SYSCALL, and CONFIG_NET_XGRESS (6.6 or newer) or CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF");
}

Finding btf(const HostFacts& facts) {
  if (facts.btf) return {.what = "BTF", .fitness = Fitness::ok, .says = "/sys/kernel/btf/vmlinux", .cure = "", .needed = false};
  return {.what = "BTF", .fitness = Fitness::degraded, .says = "no /sys/kernel/btf/vmlinux: programs that look into the kernel can't adapt to it",
          .cure = "a kernel with CONFIG_DEBUG_INFO_BTF", .needed = false};
}

Finding bpf_file_system(const HostFacts& facts) {
  Finding finding{.what = "BPF file system", .fitness = Fitness::ok, .says = fmt::format("kernel flows outlive a crash of usher, in {}", facts.pin_folder), .cure = "", .needed = false};
  if (facts.bpf_file_system && !facts.pins) return finding;
  finding.fitness = facts.bpf_file_system ? Fitness::degraded : Fitness::missing;
  finding.says = facts.bpf_file_system ? fmt::format("kernel flows end with usher: {}", facts.pins->message) : "not mounted: kernel flows end with usher";
  finding.cure = !facts.bpf_file_system ? "mount -t bpf bpf /sys/fs/bpf"
                 : has_all(facts)       ? fmt::format("as root: install -d -m 0700 -o USER {} && chmod o+x /sys/fs/bpf, with the user that usher runs as", facts.pin_folder)
                                        : "see privilege: root, and the drop-in, make the folder";
  return finding;
}

Finding interfaces(const HostFacts& facts) {
  std::vector<std::string_view> fit;
  for (const InterfaceFact& one : facts.interfaces) {
    if (one.fits) fit.push_back(one.name);
  }
  if (!fit.empty()) return {.what = "interfaces", .fitness = Fitness::ok, .says = fmt::format("{}", fmt::join(fit, ", ")), .cure = "", .needed = false};
  if (facts.network) {
    const Obstacle obstacle = why_no_network(*facts.network);
    return {.what = "interfaces", .fitness = Fitness::degraded, .says = obstacle.why + ": the proxy serves", .cure = obstacle.cure, .needed = false};
  }
  return {.what = "interfaces", .fitness = Fitness::degraded, .says = "none is up and speaks Ethernet: the proxy serves", .cure = "ip link set NAME up", .needed = false};
}

Finding source_ports(const HostFacts& facts) {
  const std::uint32_t count = std::accumulate(facts.ports.begin(), facts.ports.end(), std::uint32_t{0},
                                              [](std::uint32_t sum, const auto& range) { return sum + range.second - range.first + 1U; });
  Finding finding{.what = "source ports", .fitness = Fitness::ok, .says = fmt::format("{} are left for kernel_mode = \"nat\"", count), .cure = "", .needed = false};
  constexpr std::uint32_t enough = 4096;
  if (count >= enough) return finding;
  finding.fitness = Fitness::degraded;
  finding.says += ", for each backend and client address";
  finding.cure = "sysctl net.ipv4.ip_local_reserved_ports=40000-60999";
  return finding;
}

Finding listener(const HostFacts& facts, const ListenerConfig& one) {
  Finding finding{.what = "listener " + one.name, .fitness = Fitness::ok, .says = "the proxy, as the file asks", .cure = "", .needed = one.datapath == Datapath::kernel};
  if (one.datapath == Datapath::proxy) return finding;
  const auto obstacle = std::ranges::find(facts.obstacles, one.name, &ListenerObstacle::listener);
  std::string why;
  if (obstacle != facts.obstacles.end()) {
    why = obstacle->why;
    finding.cure = obstacle->cure;
  } else if (facts.kernel_path) {
    why = has_all(facts) ? facts.kernel_path->message : "the privilege is missing";
    finding.cure = has_all(facts) ? "see tcx" : "see privilege";
  }
  if (why.empty()) {
    finding.says = one.datapath == Datapath::kernel ? "the kernel, as the file asks" : "the kernel: nothing that it asks for needs the proxy";
    return finding;
  }
  finding.fitness = one.datapath == Datapath::kernel ? Fitness::missing : Fitness::degraded;
  finding.says = "the proxy: " + why;
  return finding;
}

}  // namespace

std::string_view name(Fitness fitness) noexcept {
  switch (fitness) {
    case Fitness::ok: return "ok";
    case Fitness::degraded: return "degraded";
    case Fitness::missing: return "missing";
  }
  return "missing";
}

std::vector<Finding> judge_host(const HostFacts& facts, const std::optional<Config>& config) {
  const bool privileged = has_all(facts);
  std::vector<Finding> findings{
      io_uring(facts),
      descriptors(facts, config),
      pipe_pages(facts),
      privilege(facts, config),
      feature("sk_reuseport", facts.reuseport, facts.may_bpf, "a new connection goes to the less loaded of two workers",
              "the kernel's hash spreads connections over workers", "a kernel of 6.1 or newer, with CONFIG_BPF_SYSCALL"),
      tcx(facts),
      feature("sock_ops", facts.sock_ops, privileged, "the kernel can count for the proxy, in this control group", "no kernel counts for the proxy",
              "cgroup version 2, and a kernel with CONFIG_CGROUP_BPF"),
      btf(facts),
      bpf_file_system(facts),
      interfaces(facts),
      source_ports(facts),
  };
  if (!config) return findings;
  for (const ListenerConfig& one : config->listeners) findings.push_back(listener(facts, one));
  return findings;
}

}  // namespace usher
