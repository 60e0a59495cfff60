// KernelDatapath: listener by listener, what the kernel is told to serve.
#include "control/kernel_datapath.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "control/source_ports.h"
#include "usher/base/log.h"
#include "usher/policy/maglev.h"

namespace usher {
namespace {

constexpr Duration sweep_interval = std::chrono::seconds(2);
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

}  // namespace

Result<void> KernelDatapath::load() {
  if (path_) return {};
  if (refused_) return std::unexpected(*refused_);
  auto loaded = load_kernel_path({});
  if (loaded) {
    ports_ = ports_left_by_the_stack();
    if (auto set = (*loaded)->set(KernelSettings{.ports = ports_}); !set) loaded = std::unexpected(set.error());
  }
  if (!loaded) {
    refused_ = loaded.error();
    return std::unexpected(*refused_);
  }
  path_ = std::move(*loaded);
  return {};
}

Result<std::vector<std::uint32_t>> KernelDatapath::interfaces_for(const ListenerConfig& listener) const {
  std::vector<std::uint32_t> indices;
  for (const std::string& name : listener.interfaces) {
    const auto found = std::ranges::find(interfaces_, name, &Interface::name);
    if (found == interfaces_.end()) return fail(fmt::format("there is no interface {}", name));
    if (!found->ethernet || found->loopback) return fail(fmt::format("packets on {} have no Ethernet header", name));
    indices.push_back(found->index);
  }
  if (!listener.interfaces.empty()) return indices;
  for (const Interface& one : interfaces_) {
    if (one.up && one.ethernet && !one.loopback) indices.push_back(one.index);
  }
  if (indices.empty()) return fail("this host has only its loopback interface, or none that is up and speaks Ethernet");
  return indices;
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

Result<void> KernelDatapath::put_backend(const Backend& backend, const Route& route) {
  const KernelBackend wanted{.address = backend.address, .source = route.source, .interface_index = route.interface_index, .weight = backend.weight};
  const auto known = backends_.find(backend.id.value);
  const auto same = [](const KernelBackend& a, const KernelBackend& b) {
    return a.address == b.address && a.source == b.source && a.interface_index == b.interface_index && a.weight == b.weight;
  };
  if (known != backends_.end() && same(known->second, wanted)) return {};
  if (auto put = path_->put_backend(backend.id.value, wanted); !put) return put;
  backends_.insert_or_assign(backend.id.value, wanted);
  return {};
}

Result<void> KernelDatapath::put(const std::string& address, Served served, std::uint32_t table_size) {
  const auto known = served_.find(address);
  if (known != served_.end() && known->second.backends == served.backends && known->second.may_serve == served.may_serve &&
      known->second.service == served.service) {
    return {};
  }
  std::vector<std::uint32_t> table = maglev_slots(served.backends, served.may_serve, table_size);
  for (std::uint32_t& slot : table) slot = served.backends[slot].id.value;
  if (auto put = path_->put_service(served.service, table); !put) return put;
  served_.insert_or_assign(address, std::move(served));
  return {};
}

KernelDatapath::Choice KernelDatapath::choose(const World& world, const ListenerEntry& entry, std::map<std::string, Served>& served) {
  const ListenerConfig& listener = entry.config;
  const auto by_proxy = [](std::string why) { return Choice{Datapath::proxy, std::move(why)}; };
  if (listener.datapath == Datapath::proxy) return {};
  const auto pool = std::ranges::find(world.config().pools, listener.pool, &PoolConfig::name);
  if (pool == world.config().pools.end()) return by_proxy("its pool is gone");
  if (auto why = why_not_kernel(listener, *pool)) return by_proxy(std::move(*why));
  if (auto ready = load(); !ready) return by_proxy(ready.error().message);
  if (listener.kernel_mode == Forwarding::nat && ports_.empty()) {
    return by_proxy("no source ports are left for it: net.ipv4.ip_local_port_range takes all; set some apart by net.ipv4.ip_local_reserved_ports");
  }
  const auto indices = interfaces_for(listener);
  if (!indices) return by_proxy(indices.error().message);

  std::vector<Backend> backends;
  std::vector<bool> reachable;
  for (const BackendEntry& backend : world.backends()) {
    if (backend.removed || backend.pool != pool->name) continue;
    if (backend.id.value >= PATH_BACKENDS_MAX) return by_proxy(fmt::format("more than {} backends", +PATH_BACKENDS_MAX));
    const auto route = find_route(backend.config.address);
    if (route && route->local) return by_proxy(fmt::format("backend {} is on this machine", backend.config.name));
    backends.push_back(Backend{backend.id, backend.config.name, backend.config.address, backend.weight(), 0, backend.config.tier});
    reachable.push_back(route.has_value());
    if (!route) continue;
    if (auto put = put_backend(backends.back(), *route); !put) return by_proxy(put.error().message);
  }
  std::string elsewhere;
  for (const Endpoint& address : listener.bind) {
    Served one{.service = service_of(listener, address, *pool), .backends = {}, .may_serve = {}};
    for (std::size_t i = 0; i < backends.size(); ++i) {
      if (listener.kernel_mode != Forwarding::dsr && backends[i].address.family() != address.family()) continue;
      one.backends.push_back(backends[i]);
    }
    if (one.backends.empty()) {
      elsewhere += fmt::format("; {} is the proxy's, no backend is of its family", address.text());
      continue;
    }
    one.may_serve = who_may_serve(one.backends);
    for (std::size_t i = 0, at = 0; i < backends.size() && at < one.backends.size(); ++i) {
      if (backends[i].id != one.backends[at].id) continue;
      if (!reachable[i]) one.may_serve[at] = false;
      ++at;
    }
    served.emplace(address.text(), std::move(one));
  }
  for (const std::uint32_t index : *indices) {
    if (auto attached = path_->attach(index); !attached) return by_proxy(attached.error().message);
  }
  for (const Endpoint& address : listener.bind) {
    const auto one = served.find(address.text());
    if (one == served.end()) continue;
    if (auto put_done = put(address.text(), one->second, pool->picker.maglev_table_size); !put_done) return by_proxy(put_done.error().message);
  }
  return Choice{Datapath::kernel, (listener.datapath == Datapath::kernel ? "the configuration asks for it" : "nothing that it asks for needs the proxy") + elsewhere};
}

std::vector<std::string> KernelDatapath::follow(const World& world) {
  std::vector<std::string> said;
  const bool wanted = std::ranges::any_of(world.listeners(), [](const ListenerEntry& entry) {
    return !entry.removed && entry.config.datapath != Datapath::proxy;
  });
  if (!wanted && !path_) {
    choices_.clear();
    return said;
  }
  if (refused_for_ != world.snapshot()) {
    refused_.reset();
    refused_for_ = world.snapshot();
  }
  if (auto found = list_interfaces()) interfaces_ = std::move(*found);
  std::map<std::string, Served> served;
  std::map<std::string, Choice> choices;
  for (const ListenerEntry& entry : world.listeners()) {
    if (entry.removed) continue;
    std::map<std::string, Served> mine;
    Choice choice = choose(world, entry, mine);
    if (choice.taken == Datapath::kernel) served.merge(mine);
    const auto before = choices_.find(entry.config.name);
    if (entry.config.datapath != Datapath::proxy && (before == choices_.end() || before->second != choice)) {
      said.push_back(fmt::format("listener {}: {} ({})", entry.config.name,
                                 choice.taken == Datapath::kernel ? "the kernel datapath serves it" : "the proxy serves it", choice.reason));
    }
    choices.emplace(entry.config.name, std::move(choice));
  }
  choices_ = std::move(choices);
  if (!path_) return said;
  for (auto old = served_.begin(); old != served_.end();) {
    if (served.contains(old->first)) {
      ++old;
      continue;
    }
    path_->remove_service(old->second.service.address);
    old = served_.erase(old);
  }
  if (const auto addresses = list_addresses()) {
    if (auto set = path_->set_locals(*addresses); !set) log_warning("control", "{}", set.error().message);
  }
  return said;
}

void KernelDatapath::sweep(TimePoint now) {
  if (!path_ || now < sweep_due_) return;
  sweep_due_ = now + sweep_interval;
  if (const auto swept = path_->sweep()) {
    swept_ = *swept;
  } else {
    log_warning("control", "{}", swept.error().message);
  }
}

void KernelDatapath::stop_admitting() {
  if (!path_) return;
  for (const auto& [address, served] : served_) path_->remove_service(served.service.address);
  served_.clear();
}

void KernelDatapath::detach_all() {
  if (!path_) return;
  for (const std::uint32_t index : path_->attached()) path_->detach(index);
}

KernelDatapath::Choice KernelDatapath::choice(const std::string& listener) const {
  const auto known = choices_.find(listener);
  return known == choices_.end() ? Choice{} : known->second;
}

KernelBackendCounts KernelDatapath::counts(BackendId backend) {
  return path_ && backend.value < PATH_BACKENDS_MAX ? path_->counts(backend.value) : KernelBackendCounts{};
}

}  // namespace usher
