// KernelDatapath: listener by listener, what the kernel is told to serve.
#include "control/kernel_datapath.h"

#include <sys/vfs.h>

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "control/capabilities.h"
#include "control/kernel_way.h"
#include "control/source_ports.h"
#include "usher/base/hash.h"
#include "usher/base/log.h"
#include "usher/policy/maglev.h"

namespace usher {
namespace {

constexpr Duration sweep_interval = std::chrono::seconds(2);
constexpr Duration last_sweeps_interval = std::chrono::milliseconds(200);
/// A handshake under way when nothing more is admitted, and the last acknowledgments and retransmissions of a flow that is over, have this long.
constexpr Duration last_packets = std::chrono::seconds(1);
constexpr std::string_view bpf_file_system = "/sys/fs/bpf";

KernelMode mode_of(Forwarding mode) {
  switch (mode) {
    case Forwarding::nat: return KernelMode::nat;
    case Forwarding::dnat: return KernelMode::dnat;
    case Forwarding::dsr: return KernelMode::dsr;
  }
  return KernelMode::nat;
}

KernelService service_of(const ListenerConfig& listener, const Endpoint& address, const PoolConfig& pool) {
  return KernelService{.address = address,
                       .mode = mode_of(listener.kernel_mode),
                       .picking = pool.picker.algorithm == Algorithm::maglev ? KernelPicking::maglev : KernelPicking::two_choices,
                       .hash_port = pool.picker.algorithm == Algorithm::maglev && pool.picker.hash_key == HashKey::source_port,
                       .idle_timeout = pool.idle_timeout,
                       .half_close_timeout = pool.half_close_timeout};
}

KernelFate fate_when_down(OnDown on_down) {
  switch (on_down) {
    case OnDown::keep: return KernelFate::keep;
    case OnDown::reset: return KernelFate::reset;
    case OnDown::move: return KernelFate::move;
  }
  return KernelFate::keep;
}

std::string cure_of(const Error& refused, const GlobalConfig& global) {
  if (refused.code != EPERM && refused.code != EACCES) return "\"usher doctor\" says what this host lacks";
  if (global.user.empty()) return std::string(kernel_privilege_cure);
  return fmt::format("restart usher: with global.user it keeps what the listeners of its start need; where it isn't started as root, {}", kernel_privilege_cure);
}

/// What became of a listener that may be the kernel's. That the proxy serves what the kernel was to serve is nothing that its owner expects.
KernelDatapath::Said describe(const ListenerConfig& listener, const KernelDatapath::Choice& choice, bool whole) {
  const bool insists = listener.datapath == Datapath::kernel;
  if (choice.taken == Datapath::kernel) {
    return {insists && !whole ? LogLevel::warning : LogLevel::info, fmt::format("listener {}: the kernel datapath serves it ({})", listener.name, choice.reason)};
  }
  if (!insists) return {LogLevel::info, fmt::format("listener {}: the proxy serves it ({})", listener.name, choice.reason)};
  return {LogLevel::warning, fmt::format("listener {}: the proxy serves it, not the kernel datapath that it asks for ({}); cure: {}", listener.name,
                                         choice.reason, choice.cure)};
}

}  // namespace

bool on_bpf_file_system(const std::string& path) {
  struct statfs found {};
  constexpr long magic = 0xcafe4a11;  // BPF_FS_MAGIC of linux/magic.h, newer than some C libraries' copies
  return ::statfs(path.c_str(), &found) == 0 && static_cast<long>(found.f_type) == magic;
}

std::string kernel_pin_folder(const AdminConfig& admin) {
  if (admin.socket == AdminConfig{}.socket) return fmt::format("{}/usher", bpf_file_system);
  return fmt::format("{}/usher-{:08x}", bpf_file_system, static_cast<std::uint32_t>(hash_text(admin.socket + "\n" + (admin.socket.empty() ? admin.http : ""))));
}

Result<void> KernelDatapath::load() {
  if (path_) return {};
  if (refused_) return std::unexpected(*refused_);
  auto loaded = load_kernel_path({.pin_folder = pin_folder_});
  if (loaded) {
    if (auto set = (*loaded)->set(KernelSettings{.ports = ports_}); !set) loaded = std::unexpected(set.error());
  }
  if (!loaded) {
    refused_ = loaded.error();
    return std::unexpected(*refused_);
  }
  path_ = std::move(*loaded);
  unsaid_ = path_->remarks();
  for (const auto& [number, backend] : path_->left_backends()) numbers_.remember(number, backend.pool, backend.address);
  // As though they had been served by nobody: follow() takes away what isn't asked for, and sets the rest anew.
  for (const Endpoint& address : path_->left_services()) served_[address.text()].service.address = address;
  active_ = path_->active();
  return {};
}

std::vector<bool> KernelDatapath::who_may_serve(const std::vector<Backend>& backends) const {
  std::vector<bool> may(backends.size());
  std::optional<std::uint32_t> tier;
  const auto ready = [&](const Backend& backend) { return backend.weight > 0 && board_.ready(backend.id); };
  for (const Backend& backend : backends) {
    if (ready(backend) && (!tier || backend.tier < *tier)) tier = backend.tier;
  }
  for (std::size_t i = 0; i < backends.size(); ++i) may[i] = ready(backends[i]) && backends[i].tier == *tier;
  return may;
}

KernelFate KernelDatapath::fate_of(const BackendEntry& backend, const PoolConfig& pool) const {
  if (backend.intent == Intent::disabled) return KernelFate::reset;  // as the proxy closes the sessions that it has
  const bool down = !board_[backend.id].healthy.load(std::memory_order_relaxed) && (*judged_)(backend.id);
  return down ? fate_when_down(pool.on_down) : KernelFate::keep;
}

Result<std::uint32_t> KernelDatapath::number_of(const BackendEntry& backend) {
  const auto given = numbers_.give(pool_tag(backend.pool), backend.config.address, [this](std::uint32_t number) { return path_->counts(number).active == 0; });
  if (!given) return fail(fmt::format("more than {} backends", +PATH_BACKENDS_MAX));
  if (given->fresh) {
    if (auto cleared = path_->clear_counts(given->number); !cleared) return std::unexpected(cleared.error());
  }
  // A number is a pool and an address: one that goes by another name now takes over the flows of the one that it was.
  std::erase_if(number_by_id_, [&](const auto& known) { return known.second == given->number && known.first != backend.id.value; });
  number_by_id_.insert_or_assign(backend.id.value, given->number);
  return given->number;
}

Result<void> KernelDatapath::put_backend(std::uint32_t number, const KernelBackend& backend) {
  const auto known = backends_.find(number);
  if (known != backends_.end() && known->second == backend) return {};
  if (auto put = path_->put_backend(number, backend); !put) return put;
  backends_.insert_or_assign(number, backend);
  return {};
}

Result<void> KernelDatapath::put(const std::string& address, Served served, std::uint32_t table_size) {
  const auto known = served_.find(address);
  if (known != served_.end() && known->second.backends == served.backends && known->second.may_serve == served.may_serve &&
      known->second.service == served.service) {
    return {};
  }
  std::vector<std::uint32_t> table = maglev_slots(served.backends, served.may_serve, table_size);
  for (std::uint32_t& slot : table) slot = number_by_id_.at(served.backends[slot].id.value);
  if (auto put = path_->put_service(served.service, table); !put) return put;
  served_.insert_or_assign(address, std::move(served));
  return {};
}

KernelDatapath::Choice KernelDatapath::choose(const World& world, const ListenerEntry& entry, std::map<std::string, Served>& served) {
  const ListenerConfig& listener = entry.config;
  const auto by_proxy = [](Obstacle obstacle) { return Choice{Datapath::proxy, std::move(obstacle.why), std::move(obstacle.cure)}; };
  const auto refused = [&](const Error& error) { return by_proxy({error.message, cure_of(error, world.config().global)}); };
  if (listener.datapath == Datapath::proxy) return {};
  const auto pool = std::ranges::find(world.config().pools, listener.pool, &PoolConfig::name);
  if (pool == world.config().pools.end()) return by_proxy({"its pool is gone", "give it one that is there"});
  if (auto obstacle = why_not_by_file(listener, *pool)) return by_proxy(std::move(*obstacle));
  if (auto obstacle = why_no_ports(listener, ports_)) return by_proxy(std::move(*obstacle));
  if (network_unknown_) return by_proxy(why_no_network(*network_unknown_));
  const auto indices = kernel_interfaces(listener, interfaces_);
  if (!indices) return by_proxy({indices.error().message, std::string(interfaces_cure)});
  std::vector<Member> members;
  for (const BackendEntry& entry_of_pool : world.backends()) {
    if (entry_of_pool.removed || entry_of_pool.pool != pool->name) continue;
    const auto route = find_route(entry_of_pool.config.address);
    if (route && route->local) return by_proxy(why_not_local(entry_of_pool.config));
    members.push_back(Member{&entry_of_pool, route ? std::optional(*route) : std::nullopt});
  }
  if (auto ready = load(); !ready) return refused(ready.error());
  std::string elsewhere;
  if (auto given = give_to_kernel(listener, *pool, members, *indices, served, elsewhere); !given) {
    failed_ = given.error();
    return refused(given.error());
  }
  return Choice{.taken = Datapath::kernel,
                .reason = (listener.datapath == Datapath::kernel ? "the configuration asks for it" : "nothing that it asks for needs the proxy") + elsewhere,
                .cure = ""};
}

Result<void> KernelDatapath::give_to_kernel(const ListenerConfig& listener, const PoolConfig& pool, const std::vector<Member>& members,
                                            const std::vector<std::uint32_t>& interfaces, std::map<std::string, Served>& served,
                                            std::string& elsewhere) {
  for (const Member& member : members) {
    if (auto put = put_member(member, pool); !put) return put;
  }
  for (const Endpoint& address : listener.bind) {
    Served one{.service = service_of(listener, address, pool), .backends = {}, .may_serve = {}};
    std::vector<bool> reachable;
    for (const auto& [entry, route] : members) {
      if (listener.kernel_mode != Forwarding::dsr && entry->config.address.family() != address.family()) continue;
      one.backends.push_back(Backend{entry->id, entry->config.name, entry->config.address, entry->weight(), 0, entry->config.tier});
      reachable.push_back(route.has_value());
    }
    if (one.backends.empty()) {
      elsewhere += fmt::format("; {} is the proxy's, no backend is of its family", address.text());
      continue;
    }
    one.may_serve = who_may_serve(one.backends);
    for (std::size_t i = 0; i < reachable.size(); ++i) one.may_serve[i] = one.may_serve[i] && reachable[i];
    served.emplace(address.text(), std::move(one));
  }
  for (const std::uint32_t index : interfaces) {
    if (auto attached = path_->attach(index); !attached) return std::unexpected(attached.error());
    interfaces_wanted_.insert(index);
  }
  for (const auto& [address, one] : served) {
    if (auto put_done = put(address, one, pool.picker.maglev_table_size); !put_done) return put_done;
  }
  return {};
}

Result<void> KernelDatapath::put_member(const Member& member, const PoolConfig& pool) {
  const BackendEntry& entry = *member.entry;
  const auto number = number_of(entry);
  if (!number) return std::unexpected(number.error());
  // Without a way to it, it keeps the one that it had, and gets nothing new.
  const auto before = backends_.find(*number);
  if (!member.route && before == backends_.end()) return {};
  return put_backend(*number, KernelBackend{.address = entry.config.address,
                                            .source = member.route ? member.route->source : before->second.source,
                                            .interface_index = member.route ? member.route->interface_index : before->second.interface_index,
                                            .weight = entry.weight(),
                                            .fate = fate_of(entry, pool),
                                            .pool = pool_tag(pool.name)});
}

void KernelDatapath::take_up(std::vector<Said>& said) {
  looked_for_left_ = true;
  if (path_ || !kernel_path_is_left(pin_folder_)) return;
  if (auto taken = load(); !taken) {
    said.push_back({LogLevel::warning, fmt::format("an earlier usher left its kernel datapath in {}, and this one can't take it up: {}; \"usher run "
                                                   "--cleanup\" takes it away", pin_folder_, taken.error().message)});
  }
}

std::vector<KernelDatapath::Said> KernelDatapath::follow(const World& world, const Judged& judged) {
  std::vector<Said> said;
  judged_ = &judged;
  if (refused_for_ != world.snapshot()) {
    refused_.reset();
    refused_for_ = world.snapshot();
  }
  if (!path_) ports_ = ports_left_by_the_stack();
  const bool wanted = std::ranges::any_of(world.listeners(), [](const ListenerEntry& entry) {
    return !entry.removed && entry.config.datapath != Datapath::proxy;
  });
  if (!looked_for_left_) take_up(said);
  if (!wanted && !path_) {
    choices_.clear();
    return said;
  }
  auto found = list_interfaces();
  network_unknown_ = found || !interfaces_.empty() ? std::nullopt : std::optional(found.error());
  if (found) interfaces_ = std::move(*found);
  failed_.reset();
  interfaces_wanted_.clear();
  std::erase_if(number_by_id_, [&](const auto& known) {
    return std::ranges::none_of(world.backends(), [&](const BackendEntry& entry) { return entry.id.value == known.first; });
  });
  std::map<std::string, Served> served;
  std::map<std::string, Choice> choices;
  for (const ListenerEntry& entry : world.listeners()) {
    if (entry.removed) continue;
    std::map<std::string, Served> mine;
    Choice choice = choose(world, entry, mine);
    const bool whole = mine.size() == entry.config.bind.size();
    if (choice.taken == Datapath::kernel) served.merge(mine);
    const auto before = choices_.find(entry.config.name);
    if (entry.config.datapath != Datapath::proxy && (before == choices_.end() || before->second != choice)) {
      said.push_back(describe(entry.config, choice, whole));
    }
    choices.emplace(entry.config.name, std::move(choice));
  }
  choices_ = std::move(choices);
  if (path_) clear_away(world, served, said);
  std::vector<Said> all;
  for (std::string& met : std::exchange(unsaid_, {})) all.push_back({LogLevel::info, std::move(met)});
  all.insert(all.end(), std::make_move_iterator(said.begin()), std::make_move_iterator(said.end()));
  return all;
}

void KernelDatapath::clear_away(const World& world, const std::map<std::string, Served>& served, std::vector<Said>& said) {
  std::erase_if(served_, [&](const auto& old) {
    if (served.contains(old.first)) return false;
    path_->remove_service(old.second.service.address);
    return true;
  });
  std::set<std::uint32_t> numbers;
  for (const BackendEntry& entry : world.backends()) {
    const auto known = number_by_id_.find(entry.id.value);
    if (!entry.removed && known != number_by_id_.end()) numbers.insert(known->second);
  }
  numbers_.keep_only(numbers);
  for (const std::uint32_t index : path_->attached()) {
    const bool there = std::ranges::find(interfaces_, index, &Interface::index) != interfaces_.end();
    // Where flows' packets come in isn't told: while there are any, an interface that new ones don't need may carry old ones.
    // What the last sweep found is up to two seconds old: flows may have begun since.
    if (!there || (!interfaces_wanted_.contains(index) && !served.empty() && path_->active() == 0)) path_->detach(index);
  }
  if (!served.empty()) {
    stopped_at_.reset();
    if (const auto addresses = list_addresses()) {
      if (auto set = path_->set_locals(*addresses); !set) log_warning("control", "{}", set.error().message);
    }
    return;
  }
  const TimePoint now = Clock::now();
  if (!stopped_at_) stop_admitting(now);
  if (!settled(now)) return;
  std::string gone = withdraw();
  // What was loaded, and then couldn't be used, is not tried again each second.
  refused_ = failed_;
  if (!gone.empty()) said.push_back({LogLevel::info, fmt::format("no kernel flow is left, and no listener needs the kernel: {}", gone)});
}

void KernelDatapath::sweep(TimePoint now) {
  if (!path_ || now < sweep_due_) return;
  sweep_due_ = now + (stopped_at_ ? last_sweeps_interval : sweep_interval);
  const auto swept = path_->sweep();
  if (!swept) {
    log_warning("control", "{}", swept.error().message);
    return;
  }
  swept_ = *swept;
  swept_at_ = now;
  active_ = path_->active();
  if (active_ != 0) {
    idle_since_.reset();
  } else if (!idle_since_) {
    idle_since_ = now;
  }
}

void KernelDatapath::stop_admitting(TimePoint now) {
  stopped_at_ = now;
  sweep_due_ = now;
  idle_since_.reset();
  if (!path_) return;
  for (const auto& [address, served] : served_) path_->remove_service(served.service.address);
  served_.clear();
}

bool KernelDatapath::settled(TimePoint now) const {
  if (!path_) return true;
  if (!stopped_at_ || !swept_at_ || *swept_at_ < *stopped_at_) return false;
  if (swept_.flows == 0) return true;
  return idle_since_ && now - *idle_since_ >= last_packets && now - *stopped_at_ >= last_packets;
}

std::string KernelDatapath::withdraw() {
  if (!path_) return "";
  std::vector<std::string> names;
  for (const std::uint32_t index : path_->attached()) {
    const auto known = std::ranges::find(interfaces_, index, &Interface::index);
    names.push_back(known == interfaces_.end() ? fmt::format("interface {}", index) : known->name);
  }
  const auto withdrawn = path_->withdraw();
  path_.reset();
  served_.clear();
  backends_.clear();
  number_by_id_.clear();
  numbers_ = KernelNumbers(PATH_BACKENDS_MAX);
  swept_ = {};
  active_ = 0;
  stopped_at_.reset();
  swept_at_.reset();
  idle_since_.reset();
  if (!withdrawn) return withdrawn.error().message;
  return names.empty() ? "nothing was attached" : fmt::format("detached from {}", fmt::join(names, ", "));
}

KernelDatapath::Choice KernelDatapath::choice(const std::string& listener) const {
  const auto known = choices_.find(listener);
  return known == choices_.end() ? Choice{} : known->second;
}

KernelBackendCounts KernelDatapath::counts(BackendId backend) {
  const auto number = number_by_id_.find(backend.value);
  return path_ && number != number_by_id_.end() ? path_->counts(number->second) : KernelBackendCounts{};
}

}  // namespace usher
