// What the doctor looks at: each fact by the call that usher itself will make.
#include "usher/control/doctor.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "control/capabilities.h"
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
  const Capabilities own = own_capabilities();
  const auto has_any = [&](Capabilities any) { return (own & any) != 0; };
  facts.beyond_ration = has_any(capability::sys_resource | capability::sys_admin);
  facts.may_bpf = has_any(capability::bpf | capability::sys_admin);
  facts.may_perfmon = has_any(capability::perfmon | capability::sys_admin);
  facts.may_net_admin = has_any(capability::net_admin);
  const auto steering = make_steering(2);
  if (!steering->active()) facts.reuseport = Error{steering->describe(), 0};
  const auto way = try_kernel_path();
  facts.kernel_path = error_of(way);
  facts.clsact = way && *way == TcWay::clsact;
  facts.sock_ops = error_of(try_sock_ops());
  facts.btf = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  const std::string folder = kernel_pin_folder(config ? config->admin : AdminConfig{});
  facts.bpf_file_system = on_bpf_file_system(std::filesystem::path(folder).parent_path().string());
  facts.pin_folder = folder;
  if (facts.bpf_file_system) facts.pins = why_no_pins(folder);
  const auto interfaces = list_interfaces();
  facts.network = error_of(interfaces);
  for (const Interface& one : interfaces.value_or(std::vector<Interface>{})) facts.interfaces.push_back({one.name, fits_kernel(one)});
  facts.ports = ports_left_by_the_stack();
  if (!config) return facts;
  for (const ListenerConfig& listener : config->listeners) {
    const auto pool = std::ranges::find(config->pools, listener.pool, &PoolConfig::name);
    if (pool == config->pools.end()) continue;
    if (auto why = why_not_here(listener, *pool, interfaces, facts.ports)) facts.obstacles.push_back({listener.name, std::move(why->why), std::move(why->cure)});
  }
  return facts;
}

}  // namespace usher
