// What is pinned, by libbpf; and its removal by who didn't make it.
#include "usher/steer/kernel_path.h"

#include <filesystem>

#ifdef USHER_HAVE_BPF

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "steer/libbpf_log.h"
#include "steer/path_hook.h"
#include "steer/pinned_path.h"
#include "usher/base/fd.h"

namespace usher {
namespace {

/// Made anew by each load: what a program notes while it looks at one packet, or while it sweeps.
constexpr std::string_view made_anew[] = {"path_scratch", "path_recount"};

std::vector<bpf_map*> maps_that_last(const bpf_object& object) {
  std::vector<bpf_map*> maps;
  for (bpf_map* map = bpf_object__next_map(&object, nullptr); map != nullptr; map = bpf_object__next_map(&object, map)) {
    if (!bpf_map__is_internal(map) && std::ranges::find(made_anew, bpf_map__name(map)) == std::end(made_anew)) maps.push_back(map);
  }
  return maps;
}

bool sized_by_choice(const bpf_map* map) { return bpf_map__type(map) == BPF_MAP_TYPE_LRU_HASH; }

bool fits(const bpf_map* map, const Fd& pinned) {
  bpf_map_info known{};
  __u32 length = sizeof known;
  if (bpf_obj_get_info_by_fd(pinned.number(), &known, &length) != 0) return false;
  return known.type == static_cast<__u32>(bpf_map__type(map)) && known.key_size == bpf_map__key_size(map) &&
         known.value_size == bpf_map__value_size(map) && known.map_flags == bpf_map__map_flags(map) &&
         (sized_by_choice(map) || known.max_entries == bpf_map__max_entries(map));
}

/// Written last by who makes the maps: where it is right, all of them are there.
bool of_this_abi(const Fd& settings) {
  PathSettings value{};
  const std::uint32_t key = 0;
  return bpf_map_lookup_elem(settings.number(), &key, &value) == 0 && value.abi == PATH_ABI;
}

}  // namespace

Result<Found> take_up_maps(bpf_object& object, const PathPins& pins) {
  if (pins.maps().empty()) return pins.hooks().empty() ? Found::nothing : Found::foreign;
  std::vector<std::pair<bpf_map*, Fd>> pinned;
  std::set<std::string> known;
  for (bpf_map* map : maps_that_last(object)) {
    const std::string path = pins.map_path(bpf_map__name(map));
    Fd found(bpf_obj_get(path.c_str()));
    if (!found && errno == ENOENT) return Found::foreign;
    if (!found) return std::unexpected(kernel_refused(fmt::format("opening {} refused", path), errno));
    if (!fits(map, found)) return Found::foreign;
    if (std::string_view(bpf_map__name(map)) == "path_settings" && !of_this_abi(found)) return Found::foreign;
    known.insert(path);
    pinned.emplace_back(map, std::move(found));
  }
  if (std::ranges::any_of(pins.maps(), [&](const std::string& path) { return !known.contains(path); })) return Found::foreign;
  for (const auto& [map, found] : pinned) {
    if (const int answer = bpf_map__reuse_fd(map, found.number()); answer != 0) {
      return std::unexpected(kernel_refused(fmt::format("taking up the map {} refused", bpf_map__name(map)), -answer));
    }
  }
  return Found::fitting;
}

Result<void> pin_maps(bpf_object& object, const PathPins& pins) {
  for (const std::string& old : pins.maps()) {
    if (::unlink(old.c_str()) != 0) return fail_system(fmt::format("can't unpin {}", old));
  }
  for (bpf_map* map : maps_that_last(object)) {
    if (const int answer = bpf_map__pin(map, pins.map_path(bpf_map__name(map)).c_str()); answer != 0) {
      return std::unexpected(kernel_refused(fmt::format("pinning the map {} refused", bpf_map__name(map)), -answer));
    }
  }
  return {};
}

Result<std::string> remove_kernel_path(const std::string& pin_folder) {
  libbpf_set_print(print_to_debug_log);
  auto pins = PathPins::take(pin_folder);
  if (!pins) return std::unexpected(pins.error());
  const auto said = take_hooks_off(*pins);
  if (!said) return said;
  const std::size_t maps = pins->maps().size();
  if (auto cleared = pins->clear(); !cleared) return std::unexpected(cleared.error());
  return fmt::format("{}; unpinned {} maps from {}", *said, maps, pin_folder);
}

}  // namespace usher

#else

namespace usher {
Result<std::string> remove_kernel_path(const std::string&) { return fail("built without eBPF"); }
}  // namespace usher

#endif  // USHER_HAVE_BPF

namespace usher {

bool kernel_path_is_left(const std::string& pin_folder) {
  // An empty one is nobody's leaving: it was made for a process that may not make it itself.
  std::error_code error;
  return std::filesystem::is_directory(pin_folder, error) && !std::filesystem::is_empty(pin_folder, error);
}

}  // namespace usher
