// The pulse by eBPF: loads the program, attaches it to usher's own cgroup, fills its maps and sums its counts.
#include "steer/ebpf_pulse.h"

#ifdef USHER_HAVE_BPF

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "pulse.skel.h"
#include "steer/cgroup_folder.h"
#include "steer/libbpf_log.h"
#include "usher/base/fd.h"

namespace usher {
namespace {

struct CloseObject {
  void operator()(pulse_bpf* object) const noexcept { pulse_bpf::destroy(object); }
};
using Object = std::unique_ptr<pulse_bpf, CloseObject>;

struct CloseLink {
  void operator()(bpf_link* link) const noexcept { bpf_link__destroy(link); }
};
using Link = std::unique_ptr<bpf_link, CloseLink>;

struct KeyOrder {
  bool operator()(const PathServiceKey& a, const PathServiceKey& b) const noexcept { return std::memcmp(&a, &b, sizeof a) < 0; }
};

PathServiceKey key_of(const Endpoint& endpoint) {
  PathServiceKey key{};
  const auto bytes = endpoint.address_bytes();
  if (bytes.size() == sizeof key.address) {
    std::memcpy(&key.address, bytes.data(), sizeof key.address);
  } else if (bytes.size() == sizeof key.address.words[3]) {
    key.address.words[2] = htonl(0xffff);
    std::memcpy(&key.address.words[3], bytes.data(), sizeof key.address.words[3]);
  }
  key.port = htons(endpoint.port());
  return key;
}

std::string text_of(const char* path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// kernel_refused() knows what steering needs; this program needs more.
Error refused(std::string_view what, int code) {
  Error error = kernel_refused(what, code);
  if (code == EPERM) error.message += ", CAP_PERFMON and CAP_NET_ADMIN";
  return error;
}

Result<Link> attach_to_own_cgroup(const bpf_program* program) {
  const auto folder = cgroup_folder(text_of("/proc/self/cgroup"), text_of("/proc/self/mountinfo"));
  if (!folder) return std::unexpected(folder.error());
  const Fd cgroup(::open(folder->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return fail_system(fmt::format("can't open its cgroup {}", *folder));
  Link link(bpf_program__attach_cgroup(program, cgroup.number()));
  if (!link) return std::unexpected(refused(fmt::format("attaching to its cgroup {} refused", *folder), errno));
  return link;
}

class EbpfPulse final : public Pulse {
 public:
  EbpfPulse(Object object, Link link, std::size_t cpus) : object_(std::move(object)), link_(std::move(link)), per_cpu_(cpus) {}

  Result<void> set_workers(std::span<const std::uint32_t> thread_ids) override {
    const std::set<std::uint32_t> wanted(thread_ids.begin(), thread_ids.end());
    for (const std::uint32_t old : workers_) {
      if (!wanted.contains(old)) bpf_map__delete_elem(object_->maps.pulse_workers, &old, sizeof old, 0);
    }
    workers_ = wanted;
    const __u32 one = 1;
    for (const std::uint32_t id : wanted) {
      if (bpf_map__update_elem(object_->maps.pulse_workers, &id, sizeof id, &one, sizeof one, BPF_ANY) == 0) continue;
      const int code = errno;
      return std::unexpected(refused(fmt::format("worker thread {}: its map refused it", id), code));
    }
    return {};
  }

  Result<void> set_backends(std::span<const PulseBackend> backends) override {
    std::map<PathServiceKey, std::uint32_t, KeyOrder> wanted;
    for (const PulseBackend& backend : backends) {
      if (backend.number < PATH_BACKENDS_MAX) wanted.emplace(key_of(backend.address), backend.number);
    }
    for (auto old = backends_.begin(); old != backends_.end();) {
      const bool stays = wanted.contains(old->first);
      if (!stays) bpf_map__delete_elem(object_->maps.pulse_backends, &old->first, sizeof old->first, 0);
      old = stays ? std::next(old) : backends_.erase(old);
    }
    for (const auto& [key, number] : wanted) {
      const auto known = backends_.find(key);
      if (known != backends_.end() && known->second == number) continue;
      if (bpf_map__update_elem(object_->maps.pulse_backends, &key, sizeof key, &number, sizeof number, BPF_ANY) != 0) {
        const int code = errno;
        return std::unexpected(refused(fmt::format("backend number {}: its map refused it", number), code));
      }
      backends_.insert_or_assign(key, number);
    }
    return {};
  }

  PathCounts counts(std::uint32_t number) override {
    if (number >= PATH_BACKENDS_MAX) return {};
    PathCounts& last = last_[number];
    if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.pulse_counts), &number, per_cpu_.data()) == 0) {
      last = {};
      for (const PathCounts& one : per_cpu_) add(last, one);
    }
    return last;
  }

  bool active() const noexcept override { return true; }
  std::string describe() const override { return "ebpf"; }

 private:
  Object object_;
  Link link_;
  std::set<std::uint32_t> workers_;
  std::map<PathServiceKey, std::uint32_t, KeyOrder> backends_;
  std::map<std::uint32_t, PathCounts> last_;  ///< by number: what was read last
  std::vector<PathCounts> per_cpu_;
};

}  // namespace

Result<std::unique_ptr<Pulse>> load_ebpf_pulse() {
  libbpf_set_print(print_to_debug_log);
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return std::unexpected(system_error("counting CPUs refused", -cpus));
  struct stat pids {};
  if (::stat("/proc/self/ns/pid", &pids) != 0) return fail_system("can't look at /proc/self/ns/pid");
  Object object(pulse_bpf::open());
  if (!object) return std::unexpected(refused("opening refused", errno));
  object->rodata->namespace_device = pids.st_dev;
  object->rodata->namespace_inode = pids.st_ino;
  if (const int answer = pulse_bpf::load(object.get()); answer != 0) {
    Error error = refused("loading refused", -answer);
    if (answer == -EINVAL || answer == -EACCES) error.message += "; Linux 6.10 and its BTF are needed";
    return std::unexpected(std::move(error));
  }
  auto link = attach_to_own_cgroup(object->progs.pulse);
  if (!link) return std::unexpected(link.error());
  return std::make_unique<EbpfPulse>(std::move(object), std::move(*link), static_cast<std::size_t>(cpus));
}

}  // namespace usher

#endif  // USHER_HAVE_BPF
