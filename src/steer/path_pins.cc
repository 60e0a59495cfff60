// PathPins: plain system calls on a BPF file system; libbpf does the pinning itself.
#include "steer/path_pins.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <functional>

#include <fmt/format.h>

namespace usher {
namespace {

constexpr long bpf_file_system = 0xcafe4a11;  // BPF_FS_MAGIC of linux/magic.h, newer than some C libraries' copies
constexpr std::string_view link_prefix = "link_";
constexpr std::string_view filter_prefix = "filter_";

std::string_view prefix_of(PathPins::HookKind kind) {
  switch (kind) {
    case PathPins::HookKind::link:
      return link_prefix;
    case PathPins::HookKind::filter:
      return filter_prefix;
  }
  return link_prefix;
}

bool of_a_hook(std::string_view name) { return name.starts_with(link_prefix) || name.starts_with(filter_prefix); }

bool same_place(const Fd& opened, const std::string& path) {
  struct stat one {};
  struct stat other {};
  return ::fstat(opened.number(), &one) == 0 && ::stat(path.c_str(), &other) == 0 && one.st_ino == other.st_ino && one.st_dev == other.st_dev;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(folder, error); !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

/// "link_NETWORK_INDEX" or "filter_NETWORK_INDEX".
bool read_hook_name(std::string_view name, PathPins::HookPin& pin) {
  if (!of_a_hook(name)) return false;
  pin.kind = name.starts_with(link_prefix) ? PathPins::HookKind::link : PathPins::HookKind::filter;
  name.remove_prefix(prefix_of(pin.kind).size());
  const char* const end = name.data() + name.size();
  const auto network = std::from_chars(name.data(), end, pin.network);
  if (network.ec != std::errc{} || network.ptr == end || *network.ptr != '_') return false;
  const auto index = std::from_chars(network.ptr + 1, end, pin.interface_index);
  return index.ec == std::errc{} && index.ptr == end;
}

}  // namespace

std::uint64_t own_network() {
  struct stat found {};
  return ::stat("/proc/thread-self/ns/net", &found) == 0 ? found.st_ino : 0;
}

Result<PathPins> PathPins::take(const std::string& folder) {
  // Who removes the folder holds its lock meanwhile: what was locked may be gone by then, and another one in its place.
  for (int attempt = 0; attempt < 3; ++attempt) {
    Fd lock(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock) return fail_system(fmt::format("can't open {}", folder));
    if (::flock(lock.number(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return fail_system(fmt::format("can't lock {}", folder));
      return std::unexpected(Error{fmt::format("a running usher has {}", folder), EWOULDBLOCK});
    }
    if (same_place(lock, folder)) return PathPins(folder, std::move(lock));
  }
  return fail(fmt::format("{} comes and goes", folder));
}

Result<PathPins> PathPins::make(const std::string& folder) {
  const std::string parent = std::filesystem::path(folder).parent_path().string();
  struct statfs found {};
  if (::statfs(parent.c_str(), &found) != 0 || static_cast<long>(found.f_type) != bpf_file_system) {
    return fail(fmt::format("no BPF file system is mounted at {0} (mount -t bpf bpf {0})", parent));
  }
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail_system(fmt::format("can't make {}", folder));
  return take(folder);
}

std::string PathPins::map_path(std::string_view map) const { return fmt::format("{}/{}", folder_, map); }

std::string PathPins::hook_path(HookKind kind, std::uint32_t interface_index) const {
  return fmt::format("{}/{}{}_{}", folder_, prefix_of(kind), own_network(), interface_index);
}

std::vector<std::string> PathPins::maps() const {
  std::vector<std::string> paths;
  for (const std::string& name : names_in(folder_)) {
    if (!of_a_hook(name)) paths.push_back(folder_ + "/" + name);
  }
  return paths;
}

std::vector<PathPins::HookPin> PathPins::hooks() const {
  std::vector<HookPin> found;
  for (const std::string& name : names_in(folder_)) {
    HookPin pin{.path = folder_ + "/" + name};
    if (read_hook_name(name, pin)) found.push_back(std::move(pin));
  }
  return found;
}

Result<void> PathPins::clear() {
  std::vector<std::string> names = names_in(folder_);
  std::ranges::sort(names, std::greater{}, of_a_hook);
  for (const std::string& name : names) {
    const std::string path = folder_ + "/" + name;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_system(fmt::format("can't unpin {}", path));
  }
  // Where somebody else made the folder for this process (a service manager, or root before global.user took over), it isn't ours to remove.
  if (::rmdir(folder_.c_str()) == 0 || errno == ENOENT || errno == EACCES || errno == EPERM || errno == EBUSY || errno == EROFS) return {};
  return fail_system(fmt::format("can't remove {}", folder_));
}

}  // namespace usher
