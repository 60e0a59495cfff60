// The kernel datapath's user side: attaches its programs, and fills their maps.
#include "usher/steer/kernel_path.h"

#ifdef USHER_HAVE_BPF

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <utility>

#include "kernel_path.skel.h"
#include "steer/libbpf_log.h"
#include "steer/libbpf_options.h"
#include "steer/path_address.h"
#include "steer/path_hook.h"
#include "steer/path_pins.h"
#include "steer/pinned_path.h"
#include "usher/base/fd.h"
#include "usher/base/log.h"

namespace usher {
namespace {

struct CloseObject {
  void operator()(kernel_path_bpf* object) const noexcept { kernel_path_bpf::destroy(object); }
};
using Object = std::unique_ptr<kernel_path_bpf, CloseObject>;

Endpoint endpoint_of(const PathAddress& address, std::uint16_t port) {
  std::array<std::uint8_t, sizeof address> bytes{};
  std::memcpy(bytes.data(), &address, sizeof address);
  return Endpoint::ipv6(bytes, ntohs(port)).unmapped();
}

std::uint32_t seconds_of(Duration duration, std::int64_t most) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(std::chrono::duration_cast<std::chrono::seconds>(duration).count(), 1, most));
}

KernelFate fate_of(std::uint32_t flags) {
  if ((flags & PATH_BACKEND_RESET) != 0) return KernelFate::reset;
  return (flags & PATH_BACKEND_MOVE) != 0 ? KernelFate::move : KernelFate::keep;
}

std::uint32_t flags_of(KernelFate fate) {
  switch (fate) {
    case KernelFate::keep:
      return 0;
    case KernelFate::reset:
      return PATH_BACKEND_RESET;
    case KernelFate::move:
      return PATH_BACKEND_MOVE;
  }
  return 0;
}

class EbpfPath final : public KernelPath {
 public:
  EbpfPath(Object object, std::size_t cpus, std::string folder, std::vector<std::string> remarks)
      : object_(std::move(object)), folder_(std::move(folder)), remarks_(std::move(remarks)), per_cpu_(cpus), verdicts_per_cpu_(cpus) {}

  /// From here on hooks are pinned, too. `found`: what the maps held when they were taken up; `hooks` have the programs of who made them.
  Result<void> settle(PathPins pins, Found found, PathHooks hooks) {
    pins_ = std::move(pins);
    hooks_ = std::move(hooks);
    for (const auto& [index, hook] : hooks_) {
      if (auto replaced = hook->replace(*object_->progs.kernel_path); !replaced) return replaced;
    }
    if (found == Found::fitting) take_up_contents();
    return {};
  }

  Result<TcWay> attach(std::uint32_t interface_index) override {
    if (const auto known = hooks_.find(interface_index); known != hooks_.end()) return known->second->way();
    auto hook = attach_hook(*object_->progs.kernel_path, interface_index, HookOwner{.pins = pins_ ? &*pins_ : nullptr, .folder = folder_});
    if (!hook) return std::unexpected(hook.error());
    return hooks_.emplace(interface_index, std::move(*hook)).first->second->way();
  }

  void detach(std::uint32_t interface_index) override {
    const auto hook = hooks_.find(interface_index);
    if (hook == hooks_.end()) return;
    hook->second->detach();
    hooks_.erase(hook);
  }

  Result<void> withdraw() override {
    for (const std::uint32_t index : attached()) detach(index);
    if (!pins_) return {};
    auto cleared = pins_->clear();
    pins_.reset();
    return cleared;
  }

  const std::vector<std::string>& remarks() const override { return remarks_; }

  std::vector<std::pair<std::uint32_t, KernelBackend>> left_backends() const override { return left_backends_; }
  std::vector<Endpoint> left_services() const override { return left_services_; }

  std::vector<std::uint32_t> attached() const override {
    std::vector<std::uint32_t> indices;
    for (const auto& [index, hook] : hooks_) indices.push_back(index);
    return indices;
  }

  Result<void> set(const KernelSettings& settings) override {
    PathSettings value{.abi = PATH_ABI,
                       .half_open_seconds = seconds_of(settings.half_open_timeout, 3600),
                       .closing_seconds = seconds_of(settings.closing_timeout, 3600),
                       .port_first = {},
                       .port_count = {}};
    for (std::size_t i = 0; i < std::min<std::size_t>(settings.ports.size(), PATH_PORT_RANGES); ++i) {
      const auto [first, last] = settings.ports[i];
      value.port_first[i] = first;
      value.port_count[i] = last - first + 1U;
    }
    return update(object_->maps.path_settings, std::uint32_t{0}, value, "settings");
  }

  Result<void> put_backend(std::uint32_t number, const KernelBackend& backend) override {
    const PathBackend value{.address = path_address(backend.address),
                            .source = path_address(backend.source),
                            .port = htons(backend.address.port()),
                            .weight = static_cast<std::uint16_t>(std::clamp<std::uint32_t>(backend.weight, 1, 65535)),
                            .interface_index = backend.interface_index,
                            .flags = flags_of(backend.fate),
                            .pool = backend.pool};
    return update(object_->maps.path_backends, number, value, fmt::format("backend {}", backend.address.text()));
  }

  Result<void> clear_counts(std::uint32_t number) override {
    std::ranges::fill(per_cpu_, PathCounts{});
    if (bpf_map_update_elem(bpf_map__fd(object_->maps.path_counts), &number, per_cpu_.data(), BPF_ANY) == 0) return {};
    const int code = errno;
    return std::unexpected(kernel_refused("clearing a backend's counts refused", code));
  }

  Result<void> put_service(const KernelService& service, std::span<const std::uint32_t> table) override {
    const PathServiceKey key{.address = path_address(service.address), .port = htons(service.address.port()), .zero = 0};
    auto place = places_.find(service.address.text());
    if (place == places_.end()) {
      const auto number = free_place();
      if (!number) return fail(fmt::format("the kernel datapath serves at most {} addresses; {} is one more", +PATH_SERVICES_MAX, service.address.text()));
      place = places_.emplace(service.address.text(), *number).first;
    }
    const std::uint32_t index = place->second;
    const PathService value{.service = index,
                            .slots = static_cast<std::uint32_t>(table.size()),
                            .mode = static_cast<std::uint8_t>(service.mode == KernelMode::nat    ? PATH_NAT
                                                              : service.mode == KernelMode::dnat ? PATH_DNAT
                                                                                                 : PATH_DSR),
                            .algorithm = static_cast<std::uint8_t>(service.picking == KernelPicking::maglev ? PATH_MAGLEV : PATH_TWO_CHOICES),
                            .flags = static_cast<std::uint8_t>(service.hash_port ? PATH_HASH_PORT : 0),
                            .zero = 0,
                            .idle_seconds = seconds_of(service.idle_timeout, std::int64_t{1} << 31),
                            .half_close_seconds = seconds_of(service.half_close_timeout, 65535)};
    // A packet may see one change without the other: its slot must never lie behind the table's end.
    PathService before{};
    const bool known = bpf_map__lookup_elem(object_->maps.path_services, &key, sizeof key, &before, sizeof before, 0) == 0;
    if (known && before.slots > value.slots) {
      if (auto put = update(object_->maps.path_services, key, value, service.address.text()); !put) return put;
    }
    if (auto swapped = swap_table(index, table); !swapped) return swapped;
    return update(object_->maps.path_services, key, value, service.address.text());
  }

  void remove_service(const Endpoint& address) override {
    const PathServiceKey key{.address = path_address(address), .port = htons(address.port()), .zero = 0};
    bpf_map__delete_elem(object_->maps.path_services, &key, sizeof key, 0);
    if (const auto place = places_.find(address.text()); place != places_.end()) {
      bpf_map__delete_elem(object_->maps.path_tables, &place->second, sizeof place->second, 0);
      places_.erase(place);
    }
  }

  Result<void> set_locals(std::span<const Endpoint> addresses) override {
    std::vector<std::string> wanted;
    for (const Endpoint& address : addresses) {
      wanted.push_back(address.ip_text());
      if (std::ranges::find(locals_, address.ip_text()) != locals_.end()) continue;
      if (auto put = update(object_->maps.path_locals, path_address(address), std::uint32_t{1}, address.ip_text()); !put) return put;
    }
    for (const std::string& old : locals_) {
      if (std::ranges::find(wanted, old) != wanted.end()) continue;
      const PathAddress key = path_address(*Endpoint::parse_ip(old, 0));
      bpf_map__delete_elem(object_->maps.path_locals, &key, sizeof key, 0);
    }
    locals_ = std::move(wanted);
    return {};
  }

  Result<PathSweep> sweep() override {
    PathSweep found{};
    auto options = libbpf_options<bpf_test_run_opts>();
    options.ctx_in = &found;
    options.ctx_size_in = sizeof found;
    if (const int answer = bpf_prog_test_run_opts(bpf_program__fd(object_->progs.path_sweep), &options); answer != 0) {
      return std::unexpected(kernel_refused("sweeping the connection table refused", -answer));
    }
    if (options.retval != 0) return fail("sweeping the connection table failed: it has no settings");
    return found;
  }

  std::uint64_t active() override {
    std::uint64_t sum = 0;
    for (const auto& [number, flows] : whole<std::uint64_t>(object_->maps.path_active)) {
      if (static_cast<std::int64_t>(flows) > 0) sum += flows;
    }
    return sum;
  }

  KernelBackendCounts counts(std::uint32_t number) override {
    KernelBackendCounts result;
    if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.path_counts), &number, per_cpu_.data()) == 0) {
      for (const PathCounts& one : per_cpu_) add(result.sums, one);
    }
    std::uint64_t active = 0;
    if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.path_active), &number, &active) == 0 && static_cast<std::int64_t>(active) > 0) {
      result.active = active;
    }
    return result;
  }

  std::array<std::uint64_t, PATH_VERDICTS> verdicts() override {
    std::array<std::uint64_t, PATH_VERDICTS> sums{};
    for (std::uint32_t verdict = 0; verdict < PATH_VERDICTS; ++verdict) {
      if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.path_verdicts), &verdict, verdicts_per_cpu_.data()) != 0) continue;
      for (const std::uint64_t one : verdicts_per_cpu_) sums[verdict] += one;
    }
    return sums;
  }

 private:
  /// An array's entries, in few calls.
  template <typename Value>
  static std::vector<std::pair<std::uint32_t, Value>> whole(const bpf_map* map) {
    __u32 count = bpf_map__max_entries(map);
    std::vector<__u32> keys(count);
    std::vector<Value> values(count);
    __u32 place = 0;
    // ENOENT says that the end was reached, not that nothing was read.
    if (bpf_map_lookup_batch(bpf_map__fd(map), nullptr, &place, keys.data(), values.data(), &count, nullptr) != 0 && errno != ENOENT) count = 0;
    std::vector<std::pair<std::uint32_t, Value>> entries;
    for (__u32 i = 0; i < count; ++i) entries.emplace_back(keys[i], values[i]);
    return entries;
  }

  /// The keys of a hash that nobody else writes to.
  template <typename Key>
  static std::vector<Key> keys_of(const bpf_map* map) {
    std::vector<Key> keys;
    Key key{};
    for (int answer = bpf_map__get_next_key(map, nullptr, &key, sizeof key); answer == 0 && keys.size() < bpf_map__max_entries(map);
         answer = bpf_map__get_next_key(map, &keys.back(), &key, sizeof key)) {
      keys.push_back(key);
    }
    return keys;
  }

  void take_up_contents() {
    for (const auto& [number, backend] : whole<PathBackend>(object_->maps.path_backends)) {
      if (backend.port == 0) continue;
      left_backends_.emplace_back(number, KernelBackend{.address = endpoint_of(backend.address, backend.port),
                                                        .source = endpoint_of(backend.source, 0),
                                                        .interface_index = backend.interface_index,
                                                        .weight = backend.weight,
                                                        .fate = fate_of(backend.flags),
                                                        .pool = backend.pool});
    }
    for (const PathServiceKey& key : keys_of<PathServiceKey>(object_->maps.path_services)) {
      PathService service{};
      if (bpf_map__lookup_elem(object_->maps.path_services, &key, sizeof key, &service, sizeof service, 0) != 0) continue;
      left_services_.push_back(endpoint_of(key.address, key.port));
      places_.emplace(left_services_.back().text(), service.service);
    }
    for (const PathAddress& address : keys_of<PathAddress>(object_->maps.path_locals)) locals_.push_back(endpoint_of(address, 0).ip_text());
    std::vector<std::string> names;
    for (const auto& [index, hook] : hooks_) names.push_back(interface_name(index));
    remarks_.push_back(fmt::format("took up what an earlier usher left in {}, {}, flows: {}; its programs were replaced in place", pins_->folder(),
                                   names.empty() ? "attached to no interface" : fmt::format("on {}", fmt::join(names, ", ")), active()));
  }

  template <typename Key, typename Value>
  Result<void> update(const bpf_map* map, const Key& key, const Value& value, std::string_view what) {
    if (bpf_map__update_elem(map, &key, sizeof key, &value, sizeof value, BPF_ANY) == 0) return {};
    const int code = errno;
    return std::unexpected(kernel_refused(fmt::format("{}: the map {} refused it", what, bpf_map__name(map)), code));
  }

  static void add(PathCounts& sum, const PathCounts& one) {
    static_assert(sizeof(PathCounts) % sizeof(__u64) == 0);
    auto* to = reinterpret_cast<__u64*>(&sum);
    const auto* from = reinterpret_cast<const __u64*>(&one);
    for (std::size_t i = 0; i < sizeof(PathCounts) / sizeof(__u64); ++i) to[i] += from[i];
  }

  std::optional<std::uint32_t> free_place() const {
    for (std::uint32_t number = 0; number < PATH_SERVICES_MAX; ++number) {
      if (std::ranges::none_of(places_, [&](const auto& taken) { return taken.second == number; })) return number;
    }
    return std::nullopt;
  }

  Result<void> swap_table(std::uint32_t index, std::span<const std::uint32_t> table) {
    const int outer = bpf_map__fd(object_->maps.path_tables);
    if (table.empty()) {
      bpf_map_delete_elem(outer, &index);
      return {};
    }
    auto options = libbpf_options<bpf_map_create_opts>();
    options.map_flags = BPF_F_INNER_MAP;
    const Fd inner(bpf_map_create(BPF_MAP_TYPE_ARRAY, "path_table", sizeof(__u32), sizeof(__u32), static_cast<__u32>(table.size()), &options));
    if (!inner) return std::unexpected(kernel_refused("making a table refused", errno));
    std::vector<__u32> keys(table.size());
    std::vector<__u32> values(table.size());
    for (std::uint32_t i = 0; i < table.size(); ++i) {
      keys[i] = i;
      values[i] = table[i] + 1;
    }
    __u32 count = static_cast<__u32>(table.size());
    if (bpf_map_update_batch(inner.number(), keys.data(), values.data(), &count, nullptr) != 0) {
      return std::unexpected(kernel_refused("filling a table refused", errno));
    }
    const int number = inner.number();
    if (bpf_map_update_elem(outer, &index, &number, BPF_ANY) != 0) return std::unexpected(kernel_refused("swapping a table refused", errno));
    return {};
  }

  Object object_;
  const std::string folder_;
  std::optional<PathPins> pins_;
  std::vector<std::string> remarks_;
  std::vector<std::pair<std::uint32_t, KernelBackend>> left_backends_;
  std::vector<Endpoint> left_services_;
  PathHooks hooks_;
  std::map<std::string, std::uint32_t> places_;  ///< of the services in path_tables
  std::vector<std::string> locals_;
  std::vector<PathCounts> per_cpu_;
  std::vector<std::uint64_t> verdicts_per_cpu_;
};

/// The folder, where one was asked for and can be had; else why not.
std::optional<PathPins> take_folder(const std::string& folder, std::vector<std::string>& remarks) {
  if (folder.empty()) return std::nullopt;
  auto pins = PathPins::make(folder);
  if (pins) return std::move(*pins);
  remarks.push_back(fmt::format("kernel flows won't outlive this process: {}", pins.error().message));
  return std::nullopt;
}

Result<std::unique_ptr<KernelPath>> finish(Object object, const std::string& folder, std::optional<PathPins> pins, Found found,
                                           std::vector<std::string> remarks) {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return std::unexpected(system_error("counting CPUs refused", -cpus));
  if (found == Found::foreign) {
    remarks.push_back(fmt::format("what an earlier usher left in {} is of another version: it is replaced, and the flows in it end", pins->folder()));
  }
  if (pins && found != Found::fitting) {
    if (auto pinned = pin_maps(*object->obj, *pins); !pinned) {
      remarks.push_back(fmt::format("kernel flows won't outlive this process: {}", pinned.error().message));
      // Unpinned, a link goes by itself; a filter would be nobody's.
      if (auto off = take_hooks_off(*pins); !off) remarks.push_back(off.error().message);
      if (auto cleared = pins->clear(); !cleared) remarks.push_back(cleared.error().message);
      pins.reset();
    }
  }
  auto path = std::make_unique<EbpfPath>(std::move(object), static_cast<std::size_t>(cpus), folder, std::move(remarks));
  if (pins) {
    auto hooks = take_up_hooks(*pins);
    if (auto settled = path->settle(std::move(*pins), found, std::move(hooks)); !settled) return std::unexpected(settled.error());
  }
  return path;
}

}  // namespace

Result<std::unique_ptr<KernelPath>> load_kernel_path(const KernelPathOptions& options) {
  libbpf_set_print(print_to_debug_log);
  Object object(kernel_path_bpf::open());
  if (!object) return std::unexpected(kernel_refused("opening the kernel datapath refused", errno));
  bpf_map__set_max_entries(object->maps.path_flows, options.flows_max * 2);
  bpf_map__set_max_entries(object->maps.path_half_open, options.half_open_max * 2);
  std::vector<std::string> remarks;
  auto pins = take_folder(options.pin_folder, remarks);
  auto found = Found::nothing;
  if (pins) {
    const auto taken = take_up_maps(*object->obj, *pins);
    if (!taken) return std::unexpected(taken.error());
    found = *taken;
  }
  if (const int answer = kernel_path_bpf::load(object.get()); answer != 0) {
    const Error refused = kernel_refused("loading the kernel datapath refused", -answer);
    // What this call made goes with it; what was there stays for who may use it.
    if (pins && found == Found::nothing) static_cast<void>(pins->clear());
    return std::unexpected(refused);
  }
  return finish(std::move(object), options.pin_folder, std::move(pins), found, std::move(remarks));
}

}  // namespace usher

#else

namespace usher {
Result<std::unique_ptr<KernelPath>> load_kernel_path(const KernelPathOptions&) { return fail("built without eBPF"); }
}  // namespace usher

#endif  // USHER_HAVE_BPF
