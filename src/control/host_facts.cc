// What the doctor looks at: each fact by the call that usher itself will make.
#include "usher/control/doctor.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "control/kernel_datapath.h"
#include "control/kernel_way.h"
#include "control/limits.h"
#include "control/network.h"
#include "control/source_ports.h"
#include "usher/ring/ring.h"
#include "usher/steer/steering.h"
#include "usher/steer/trial.h"

namespace usher {
namespace {

constexpr unsigned capability_bpf = 39;  // CAP_BPF (capabilities(7)), newer than some C libraries' copies

/// The effective capabilities of this thread, by capget(2).
std::uint64_t own_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct words[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, words) != 0) return 0;
  return words[0].effective | std::uint64_t{words[1].effective} << 32;
}

template <typename T>
std::optional<Error> error_of(const Result<T>& result) {
  return result ? std::nullopt : std::optional(result.error());
}

std::optional<Error> why_no_pins(const std::string& folder) {
  const std::string parent = std::filesystem::path(folder).parent_path().string();
  std::error_code ignored;
  const std::string where = std::filesystem::is_directory(folder, ignored) ? folder : parent;
  if (::access(where.c_str(), W_OK | X_OK) == 0) return std::nullopt;
  return system_error(fmt::format("can't write to {}", where));
}

}  // namespace

HostFacts examine_host(const std::optional<Config>& config) {
  HostFacts facts;
  facts.io_uring = error_of(Ring::create(8));
  std::ifstream("/proc/sys/kernel/io_uring_disabled") >> facts.io_uring_disabled;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) facts.descriptors_max = limit.rlim_max;
  facts.pipe_pages = pipe_pages_ration();
  facts.workers = config && config->global.workers != 0 ? config->global.workers : usable_processors();
  const std::uint64_t capabilities = own_capabilities();
  const auto has = [&](unsigned capability) { return (capabilities >> capability & 1) != 0; };
  facts.beyond_ration = has(CAP_SYS_RESOURCE) || has(CAP_SYS_ADMIN);
  facts.may_bpf = has(capability_bpf) || has(CAP_SYS_ADMIN);
  facts.may_net_admin = has(CAP_NET_ADMIN);
  const auto steering = make_steering(2);
  if (!steering->active()) facts.reuseport = Error{steering->describe(), 0};
  const auto way = try_kernel_path();
  facts.kernel_path = error_of(way);
  facts.clsact = way && *way == TcWay::clsact;
  facts.sock_ops = error_of(try_sock_ops());
  facts.btf = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  const std::string folder = kernel_pin_folder(config ? config->admin : AdminConfig{});
  struct statfs found {};
  constexpr long magic = 0xcafe4a11;  // BPF_FS_MAGIC of linux/magic.h
  facts.bpf_file_system = ::statfs(std::filesystem::path(folder).parent_path().c_str(), &found) == 0 && static_cast<long>(found.f_type) == magic;
  if (facts.bpf_file_system) facts.pins = why_no_pins(folder);
  const auto interfaces = list_interfaces().value_or(std::vector<Interface>{});
  for (const Interface& one : interfaces) facts.interfaces.push_back({one.name, fits_kernel(one)});
  facts.ports = ports_left_by_the_stack();
  if (!config) return facts;
  for (const ListenerConfig& listener : config->listeners) {
    const auto pool = std::ranges::find(config->pools, listener.pool, &PoolConfig::name);
    if (pool == config->pools.end()) continue;
    if (auto why = why_not_here(listener, *pool, interfaces, facts.ports)) facts.obstacles.emplace_back(listener.name, std::move(*why));
  }
  return facts;
}

}  // namespace usher
