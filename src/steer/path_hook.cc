// The two ways of attaching, by libbpf.
#ifdef USHER_HAVE_BPF

#include "steer/path_hook.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/if.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "steer/libbpf_log.h"
#include "steer/libbpf_options.h"
#include "usher/base/fd.h"
#include "usher/base/hash.h"
#include "usher/base/log.h"

namespace usher {
namespace {

using HookKind = PathPins::HookKind;

struct CloseLink {
  void operator()(bpf_link* link) const noexcept { bpf_link__destroy(link); }
};
/// Closing it detaches, unless it is pinned.
using Link = std::unique_ptr<bpf_link, CloseLink>;

class TcxHook final : public PathHook {
 public:
  TcxHook(Link link, std::string pin) : link_(std::move(link)), pin_(std::move(pin)) {}

  TcWay way() const override { return TcWay::tcx; }

  Result<void> replace(const bpf_program& program) override {
    const auto options = libbpf_options<bpf_link_update_opts>();
    if (bpf_link_update(bpf_link__fd(link_.get()), bpf_program__fd(&program), &options) == 0) return {};
    const int code = errno;
    return std::unexpected(kernel_refused("replacing a program in place refused", code));
  }

  void detach() override {
    bpf_link__detach(link_.get());
    if (!pin_.empty()) ::unlink(pin_.c_str());
  }

 private:
  Link link_;
  std::string pin_;  ///< "": nowhere
};

/// Where the filters of one owner are. Others, too, may have some of this priority: the handle says whose it is.
class FilterPlace {
 public:
  FilterPlace(std::uint32_t interface_index, std::string_view folder)
      : interface_index_(interface_index), owner_number_(static_cast<std::uint32_t>(hash_text(folder)) | 1) {}

  /// Puts `program` there, in place of what may be there: cls_bpf swaps one for the other under RCU.
  [[nodiscard]] int put(const bpf_program& program) const {
    auto hook = ingress();
    if (const int made = bpf_tc_hook_create(&hook); made != 0 && made != -EEXIST) return made;
    auto filter = own_filter();
    filter.prog_fd = bpf_program__fd(&program);
    filter.flags = BPF_TC_F_REPLACE;
    return bpf_tc_attach(&hook, &filter);
  }

  [[nodiscard]] bool taken() const {
    const auto hook = ingress();
    auto filter = own_filter();
    return bpf_tc_query(&hook, &filter) == 0;
  }

  void clear() const {
    const auto hook = ingress();
    const auto filter = own_filter();
    const int answer = bpf_tc_detach(&hook, &filter);
    if (answer == 0 || answer == -ENOENT || answer == -ENODEV || answer == -EINVAL) return;  // it, its qdisc or its interface is gone
    const std::string what = fmt::format("taking the filter off interface {} refused", interface_name(interface_index_));
    log_warning("steer", "{}", kernel_refused(what, -answer).message);
  }

 private:
  [[nodiscard]] bpf_tc_hook ingress() const {
    auto hook = libbpf_options<bpf_tc_hook>();
    hook.ifindex = static_cast<int>(interface_index_);
    hook.attach_point = BPF_TC_INGRESS;
    return hook;
  }

  [[nodiscard]] bpf_tc_opts own_filter() const {
    auto filter = libbpf_options<bpf_tc_opts>();
    filter.handle = owner_number_;
    filter.priority = filter_priority;
    return filter;
  }

  std::uint32_t interface_index_;
  std::uint32_t owner_number_;
};

class FilterHook final : public PathHook {
 public:
  FilterHook(FilterPlace place, std::string pin) : place_(place), pin_(std::move(pin)) {}
  ~FilterHook() override {
    if (pin_.empty()) place_.clear();
  }

  TcWay way() const override { return TcWay::clsact; }

  Result<void> replace(const bpf_program& program) override {
    if (const int answer = place_.put(program); answer != 0) return std::unexpected(kernel_refused("replacing a filter in place refused", -answer));
    if (pin_.empty()) return {};
    // The pin says which interface has a filter, at every moment.
    const std::string fresh = pin_ + "_new";
    ::unlink(fresh.c_str());
    if (bpf_obj_pin(bpf_program__fd(&program), fresh.c_str()) != 0) {
      return std::unexpected(kernel_refused(fmt::format("pinning {} refused", fresh), errno));
    }
    if (std::rename(fresh.c_str(), pin_.c_str()) != 0) return fail_system(fmt::format("can't put {} in its place", fresh));
    return {};
  }

  void detach() override {
    place_.clear();
    if (!pin_.empty()) ::unlink(pin_.c_str());
  }

 private:
  FilterPlace place_;
  std::string pin_;  ///< "": nowhere
};

std::string pin_path(const HookOwner& owner, HookKind kind, std::uint32_t interface_index) {
  return owner.pins != nullptr ? owner.pins->hook_path(kind, interface_index) : "";
}

Result<std::unique_ptr<PathHook>> attach_filter(const bpf_program& program, std::uint32_t interface_index, const HookOwner& owner) {
  const FilterPlace place(interface_index, owner.folder);
  const std::string pin = pin_path(owner, HookKind::filter, interface_index);
  // The pin first: killed between the two, a pin without a filter tells no lie that matters, a filter without a pin would be nobody's.
  if (!pin.empty() && bpf_obj_pin(bpf_program__fd(&program), pin.c_str()) != 0) {
    return std::unexpected(kernel_refused(fmt::format("pinning {} refused", pin), errno));
  }
  if (const int answer = place.put(program); answer != 0) {
    if (!pin.empty()) ::unlink(pin.c_str());
    const std::string what = fmt::format("attaching to interface {} by a clsact filter refused", interface_name(interface_index));
    return std::unexpected(kernel_refused(what, -answer));
  }
  return std::make_unique<FilterHook>(place, pin);
}

bool clsact_is_forced() {
  const char* forced = std::getenv("USHER_TC_ATTACH");
  return forced != nullptr && std::string_view(forced) == "clsact";
}

struct LinkState {
  std::uint32_t interface_index = 0;  ///< 0: the interface is gone, or it was detached
  Fd link;
};

Result<LinkState> look_at_link(const std::string& path) {
  LinkState state{.link = Fd(bpf_obj_get(path.c_str()))};
  if (!state.link) return std::unexpected(kernel_refused(fmt::format("opening {} refused", path), errno));
  bpf_link_info known{};
  __u32 length = sizeof known;
  if (bpf_obj_get_info_by_fd(state.link.number(), &known, &length) != 0) return std::unexpected(kernel_refused("asking a link refused", errno));
  state.interface_index = known.xdp.ifindex;  // at the place of tcx.ifindex, which older headers lack
  return state;
}

std::unique_ptr<PathHook> take_up_link(const PathPins::HookPin& pin) {
  const auto state = look_at_link(pin.path);
  if (!state) return nullptr;
  Link link(pin.network == own_network() && state->interface_index == pin.interface_index ? bpf_link__open(pin.path.c_str()) : nullptr);
  if (link) return std::make_unique<TcxHook>(std::move(link), pin.path);
  bpf_link_detach(state->link.number());
  return nullptr;
}

std::unique_ptr<PathHook> take_up_filter(const PathPins::HookPin& pin, const PathPins& pins) {
  const FilterPlace place(pin.interface_index, pins.folder());
  if (pin.network != own_network() || !place.taken()) return nullptr;
  return std::make_unique<FilterHook>(place, pin.path);
}

/// Where a program was taken off.
struct TakenOff {
  std::vector<std::string> interfaces;
  std::vector<std::string> out_of_reach;  ///< filters of other network namespaces
  std::size_t gone = 0;                   ///< on interfaces that are gone
};

Result<void> take_link_off(const PathPins::HookPin& pin, TakenOff& taken) {
  const auto state = look_at_link(pin.path);
  if (!state) return std::unexpected(state.error());
  if (state->interface_index == 0) {
    ++taken.gone;
    return {};
  }
  char name[IF_NAMESIZE] = {};
  const bool here = pin.network == own_network() && ::if_indextoname(state->interface_index, name) != nullptr;
  bpf_link_detach(state->link.number());
  taken.interfaces.push_back(here ? name : fmt::format("interface {} of another network namespace", state->interface_index));
  return {};
}

void take_filter_off(const PathPins::HookPin& pin, const PathPins& pins, TakenOff& taken) {
  if (pin.network != own_network()) {
    taken.out_of_reach.push_back(fmt::format("interface {} of network namespace {}", pin.interface_index, pin.network));
    return;
  }
  const FilterPlace place(pin.interface_index, pins.folder());
  if (!place.taken()) {
    ++taken.gone;
    return;
  }
  place.clear();
  taken.interfaces.push_back(interface_name(pin.interface_index));
}

}  // namespace

std::string interface_name(std::uint32_t index) {
  char name[IF_NAMESIZE] = {};
  return ::if_indextoname(index, name) != nullptr ? std::string(name) : fmt::format("number {}", index);
}

std::vector<std::string> interfaces_with_filters(const std::string& pin_folder) {
  libbpf_set_print(print_to_debug_log);
  std::vector<std::string> names;
  struct if_nameindex* const all = ::if_nameindex();
  for (struct if_nameindex* one = all; one != nullptr && one->if_index != 0; ++one) {
    if (FilterPlace(one->if_index, pin_folder).taken()) names.emplace_back(one->if_name);
  }
  if (all != nullptr) ::if_freenameindex(all);
  return names;
}

Result<std::unique_ptr<PathHook>> attach_hook(const bpf_program& program, std::uint32_t interface_index, const HookOwner& owner) {
  if (clsact_is_forced()) return attach_filter(program, interface_index, owner);
  const auto options = libbpf_options<bpf_tcx_opts>();
  Link link(bpf_program__attach_tcx(&program, static_cast<int>(interface_index), &options));
  const int code = errno;
  // What link_create() answers to a kind of link that it doesn't know, and a kernel that was built without it.
  if (!link && code == EINVAL) return attach_filter(program, interface_index, owner);
  if (!link) return std::unexpected(kernel_refused(fmt::format("attaching to interface {} refused", interface_name(interface_index)), code));
  const std::string pin = pin_path(owner, HookKind::link, interface_index);
  if (!pin.empty()) {
    if (const int answer = bpf_link__pin(link.get(), pin.c_str()); answer != 0) {
      return std::unexpected(kernel_refused(fmt::format("pinning the link {} refused", pin), -answer));
    }
  }
  return std::make_unique<TcxHook>(std::move(link), pin);
}

PathHooks take_up_hooks(const PathPins& pins) {
  PathHooks taken;
  for (const PathPins::HookPin& pin : pins.hooks()) {
    auto hook = pin.kind == HookKind::link ? take_up_link(pin) : take_up_filter(pin, pins);
    if (!hook) {
      ::unlink(pin.path.c_str());
    } else if (const auto other = taken.find(pin.interface_index); other == taken.end()) {
      taken.emplace(pin.interface_index, std::move(hook));
    } else {
      hook->detach();  // one program an interface: no flow is counted twice
    }
  }
  return taken;
}

Result<std::string> take_hooks_off(const PathPins& pins) {
  TakenOff taken;
  for (const PathPins::HookPin& pin : pins.hooks()) {
    if (pin.kind == HookKind::filter) {
      take_filter_off(pin, pins, taken);
    } else if (auto off = take_link_off(pin, taken); !off) {
      return std::unexpected(off.error());
    }
  }
  std::string said = taken.interfaces.empty() ? "nothing was attached" : fmt::format("detached from {}", fmt::join(taken.interfaces, ", "));
  if (taken.gone != 0) said += fmt::format(" ({} more on interfaces that are gone)", taken.gone);
  if (!taken.out_of_reach.empty()) {
    said += fmt::format("; if they are still there, the filters on {} stay: \"tc filter del dev NAME ingress prio {}\" in there takes them away",
                        fmt::join(taken.out_of_reach, ", "), filter_priority);
  }
  return said;
}

}  // namespace usher

#else

#include "usher/steer/kernel_path.h"

namespace usher {
std::vector<std::string> interfaces_with_filters(const std::string&) { return {}; }
}  // namespace usher

#endif  // USHER_HAVE_BPF
