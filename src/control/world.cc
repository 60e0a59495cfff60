// World: one Config in, one Snapshot out; ids, intents and learnt health stay with those that stay.
#include "control/world.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "control/listen.h"

namespace usher {
namespace {

/// By then every worker has made a turn since a snapshot was published, and emptied the queues of the listeners that left.
constexpr Duration settling_time = std::chrono::seconds(10);

std::uint32_t whole_ms(Duration duration) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(ms, 0, ~std::uint32_t{0}));
}

SendProxy to_plan(ProxyProtocol version) {
  switch (version) {
    case ProxyProtocol::off: return SendProxy::off;
    case ProxyProtocol::v1: return SendProxy::v1;
    case ProxyProtocol::v2: return SendProxy::v2;
  }
  return SendProxy::off;
}

bool uses_key(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::source_hash:
    case Algorithm::maglev: return true;
    case Algorithm::round_robin:
    case Algorithm::random:
    case Algorithm::two_choices:
    case Algorithm::least_connections:
    case Algorithm::least_latency: return false;
  }
  return false;
}

std::string addresses(const ListenerConfig& listener) {
  std::string all;
  for (const Endpoint& address : listener.bind) all += (all.empty() ? "" : ", ") + address.text();
  return all;
}

bool same_but_backends(PoolConfig a, PoolConfig b) {
  a.backends.clear();
  b.backends.clear();
  return a == b;
}

}  // namespace

World::World(Shared& shared, Steering& steering, const Sheets& sheets, KernelFlows kernel_flows)
    : shared_(shared), steering_(steering), sheets_(sheets), kernel_flows_(std::move(kernel_flows)) {
  snapshot_ = std::make_shared<Snapshot>();
}

Result<std::vector<std::string>> World::apply(const Config& config) {
  if (auto room = check_room(config); !room) return std::unexpected(room.error());
  auto opened = open_groups(config);
  if (!opened) return std::unexpected(opened.error());
  // From here on nothing fails.
  std::vector<std::string> changes;
  std::map<std::string, std::shared_ptr<ListenGroup>> kept;
  for (const ListenerConfig& listener : config.listeners) {
    for (const Endpoint& address : listener.bind) {
      const std::string text = address.text();
      const auto fresh = opened->find(text);
      kept[text] = fresh != opened->end() ? fresh->second : groups_.at(text);
      if (fresh == opened->end()) apply_options(*kept[text], listener);
    }
  }
  // The program stays with a group until its sockets close; our handles on it needn't.
  for (const auto& [address, group] : groups_) {
    if (!kept.contains(address)) group->steering.reset();
  }
  groups_ = std::move(kept);
  take_backends(config, changes);
  take_listeners(config, changes);
  for (const PoolConfig& pool : config.pools) {
    const auto known = std::ranges::find(config_.pools, pool.name, &PoolConfig::name);
    if (known != config_.pools.end() && !same_but_backends(*known, pool)) changes.push_back(fmt::format("pool {}: changed", pool.name));
  }
  config_ = config;
  std::erase_if(pools_, [&](const auto& memory) {
    return std::ranges::find(config_.pools, memory.first, &PoolConfig::name) == config_.pools.end();
  });
  std::erase_if(retired_connects_, [&](const auto& retired) {
    return std::ranges::find(config_.pools, retired.first, &PoolConfig::name) == config_.pools.end();
  });
  build_snapshot();
  return changes;
}

Result<void> World::check_room(const Config& config) const {
  using Key = std::tuple<std::string_view, std::string_view, std::string>;
  std::set<Key> known;
  for (const BackendEntry& entry : backends_) known.emplace(entry.pool, entry.config.name, entry.config.address.text());
  std::size_t backends = known.size();
  for (const PoolConfig& pool : config.pools) {
    for (const BackendConfig& backend : pool.backends) backends += known.contains(Key{pool.name, backend.name, backend.address.text()}) ? 0 : 1;
  }
  if (backends > backend_count_max) {
    return fail(fmt::format("{} backends (those that still have sessions included) are more than usher holds ({})", backends, backend_count_max));
  }
  std::set<std::string_view> names;
  for (const ListenerEntry& entry : listeners_) names.insert(entry.config.name);
  for (const ListenerConfig& listener : config.listeners) names.insert(listener.name);
  if (names.size() > listener_count_max) {
    return fail(fmt::format("more than {} listeners (removed ones that still have sessions included)", listener_count_max));
  }
  return {};
}

Result<std::map<std::string, std::shared_ptr<ListenGroup>>> World::open_groups(const Config& config) {
  std::map<std::string, std::shared_ptr<ListenGroup>> opened;
  for (const ListenerConfig& listener : config.listeners) {
    for (const Endpoint& address : listener.bind) {
      if (groups_.contains(address.text())) continue;
      const auto shares_port = [&](const auto& held) {
        return held.second->address.family() == address.family() && held.second->address.port() == address.port();
      };
      const bool ours = std::ranges::any_of(groups_, shares_port) || std::ranges::any_of(opened, shares_port);
      auto group = open_group(listener, address, static_cast<std::uint32_t>(sheets_.size()),
                              ours ? PortHolder::this_usher : PortHolder::nobody_known);
      if (!group) return std::unexpected(group.error());
      std::vector<const Fd*> sockets;
      for (const Fd& socket : (*group)->sockets) sockets.push_back(&socket);
      if (steering_.active()) {
        if (auto steered = steering_.attach(sockets)) {
          (*group)->steering = std::shared_ptr<SteeredGroup>(std::move(*steered));
        } else {
          log_warning("control", "listener {}: {} is left to the kernel's hash: {}", listener.name, address.text(), steered.error().message);
        }
      }
      opened.emplace(address.text(), std::move(*group));
    }
  }
  return opened;
}

BackendEntry World::new_backend(const PoolConfig& pool, const BackendConfig& backend) {
  BackendEntry entry;
  if (!free_backend_ids_.empty()) {
    entry.id = free_backend_ids_.back();
    free_backend_ids_.pop_back();
    entry.base = sum_backend(sheets_, entry.id.value);
  } else {
    entry.id = BackendId{next_backend_id_++};
  }
  entry.pool = pool.name;
  entry.config = backend;
  const bool up = pool.initially_up || pool.health.type == CheckType::none;
  shared_.board[entry.id].latency_ns.store(0, std::memory_order_relaxed);
  shared_.board.set_healthy(entry.id, up);
  return entry;
}

void World::take_backends(const Config& config, std::vector<std::string>& changes) {
  std::set<std::uint32_t> stays;
  const bool starting = config_.pools.empty();
  for (const PoolConfig& pool : config.pools) {
    for (const BackendConfig& backend : pool.backends) {
      // A name with another address is another server: what was learnt of the old one doesn't hold for it.
      auto entry = std::ranges::find_if(backends_, [&](const BackendEntry& known) {
        return known.pool == pool.name && known.config.name == backend.name && known.config.address == backend.address;
      });
      if (entry == backends_.end()) {
        entry = backends_.insert(backends_.end(), new_backend(pool, backend));
        if (!starting) changes.push_back(fmt::format("backend {}: added at {}", entry->label(), backend.address.text()));
      } else if (entry->removed) {
        changes.push_back(fmt::format("backend {}: back again", entry->label()));
        if (entry->config.weight != backend.weight) entry->operator_weight.reset();
      } else if (entry->config.weight != backend.weight) {
        changes.push_back(fmt::format("backend {}: weight {} -> {}", entry->label(), entry->weight(), backend.weight));
        entry->operator_weight.reset();
      } else if (entry->config != backend) {
        changes.push_back(fmt::format("backend {}: changed", entry->label()));
      }
      entry->config = backend;
      entry->removed = false;
      const bool was_checked = std::exchange(entry->checked, pool.health.type != CheckType::none);
      if (was_checked && !entry->checked) shared_.board.set_healthy(entry->id, true);
      shared_.board.set_max_connections(entry->id, backend.max_connections);
      shared_.board.set_enabled(entry->id, entry->intent == Intent::enabled);
      stays.insert(entry->id.value);
    }
  }
  for (BackendEntry& entry : backends_) {
    if (entry.removed || stays.contains(entry.id.value)) continue;
    entry.removed = true;
    const auto pool = std::ranges::find(config_.pools, entry.pool, &PoolConfig::name);
    entry.forget_from = Clock::now() + settling_time + (pool == config_.pools.end() ? Duration::zero() : pool->connect_timeout * pool->connect_attempts);
    const std::uint32_t active = shared_.board[entry.id].active.load(std::memory_order_relaxed);
    const std::uint64_t flows = kernel_flows_(entry.id);
    changes.push_back(fmt::format("backend {}: removed{}{}", entry.label(), active == 0 ? "" : fmt::format("; its {} sessions go on", active),
                                  flows == 0 ? "" : fmt::format("; its {} kernel flows go on", flows)));
  }
}

ListenerEntry World::new_listener(const ListenerConfig& listener) {
  ListenerEntry entry;
  if (!free_listener_ids_.empty()) {
    entry.id = free_listener_ids_.back();
    free_listener_ids_.pop_back();
    entry.base = sum_listener(sheets_, entry.id);
  } else {
    entry.id = next_listener_id_++;
  }
  entry.config = listener;
  return entry;
}

void World::take_listeners(const Config& config, std::vector<std::string>& changes) {
  const bool starting = config_.listeners.empty();
  std::set<std::string> stays;
  for (const ListenerConfig& listener : config.listeners) {
    stays.insert(listener.name);
    auto entry = std::ranges::find(listeners_, listener.name, [](const ListenerEntry& known) { return known.config.name; });
    if (entry == listeners_.end()) {
      listeners_.push_back(new_listener(listener));
      if (!starting) changes.push_back(fmt::format("listener {}: added on {}", listener.name, addresses(listener)));
      continue;
    }
    if (entry->removed) {
      changes.push_back(fmt::format("listener {}: back again on {}", listener.name, addresses(listener)));
    } else if (entry->config.bind != listener.bind) {
      changes.push_back(fmt::format("listener {}: {} -> {}", listener.name, addresses(entry->config), addresses(listener)));
    } else if (entry->config != listener) {
      changes.push_back(fmt::format("listener {}: changed", listener.name));
    }
    entry->config = listener;
    entry->removed = false;
  }
  for (ListenerEntry& entry : listeners_) {
    if (entry.removed || stays.contains(entry.config.name)) continue;
    entry.removed = true;
    entry.forget_from = Clock::now() + settling_time;
    changes.push_back(fmt::format("listener {}: removed; its sessions go on", entry.config.name));
  }
}

std::shared_ptr<const PoolPlan> World::plan_pool(const PoolConfig& pool) {
  std::vector<Backend> list;
  for (const BackendConfig& backend : pool.backends) {
    const BackendEntry* entry = find_entry(pool.name, backend.name);
    list.push_back(Backend{entry->id, backend.name, backend.address, entry->weight(), backend.max_connections, backend.tier});
  }
  PoolMemory& memory = pools_[pool.name];
  // A pool that stays as it is keeps its picker, and with it where round_robin stands.
  if (memory.plan && memory.config == pool && memory.backends == list) return memory.plan;
  auto plan = std::make_shared<PoolPlan>();
  plan->name = pool.name;
  plan->backends = list;
  plan->picker = make_picker(pool.picker, list, shared_.board);
  plan->hash_key = pool.picker.hash_key;
  plan->keyed = uses_key(pool.picker.algorithm);
  plan->send_proxy = to_plan(pool.send_proxy_protocol);
  plan->bind_source = pool.bind_source;
  plan->connect_timeout_ms = whole_ms(pool.connect_timeout);
  plan->connect_attempts = std::clamp<std::uint32_t>(pool.connect_attempts, 1, connect_attempts_max);
  plan->idle_timeout_ms = whole_ms(pool.idle_timeout);
  plan->half_close_timeout_ms = whole_ms(pool.half_close_timeout);
  plan->lifetime_ms = whole_ms(pool.max_lifetime);
  memory = PoolMemory{pool, std::move(list), plan};
  return plan;
}

void World::build_snapshot() {
  std::map<std::string, std::shared_ptr<const PoolPlan>> plans;
  for (const PoolConfig& pool : config_.pools) plans[pool.name] = plan_pool(pool);
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->generation = ++generation_;
  for (const ListenerEntry& entry : listeners_) {
    if (entry.removed) continue;
    const ListenerConfig& listener = entry.config;
    auto plan = std::make_shared<ListenerPlan>();
    plan->id = entry.id;
    plan->name = listener.name;
    for (const Endpoint& address : listener.bind) plan->groups.push_back(groups_.at(address.text()));
    plan->pool = plans.at(listener.pool);
    plan->max_connections = listener.max_connections;
    plan->accept_proxy = listener.accept_proxy_protocol;
    plan->trusted_proxies = listener.trusted_proxies;
    plan->allow = listener.allow;
    plan->deny = listener.deny;
    snapshot->listeners.push_back(std::move(plan));
  }
  snapshot_ = std::move(snapshot);
}

void World::forget_the_gone(TimePoint now) {
  std::erase_if(backends_, [&](const BackendEntry& entry) {
    if (!entry.removed || now < entry.forget_from || shared_.board[entry.id].active.load(std::memory_order_relaxed) != 0) return false;
    if (kernel_flows_(entry.id) != 0) return false;
    shared_.board.set_enabled(entry.id, false);
    BackendTally left = sum_backend(sheets_, entry.id.value);
    left -= entry.base;
    retired_connects_[entry.pool].add(left.connect_duration);
    free_backend_ids_.insert(free_backend_ids_.begin(), entry.id);
    return true;
  });
  std::erase_if(listeners_, [&](const ListenerEntry& entry) {
    if (!entry.removed || now < entry.forget_from || shared_.listener_sessions[entry.id].load(std::memory_order_relaxed) != 0) return false;
    free_listener_ids_.insert(free_listener_ids_.begin(), entry.id);
    return true;
  });
}

std::vector<ProbeTarget> World::check_targets() const {
  std::vector<ProbeTarget> targets;
  for (const BackendEntry& entry : backends_) {
    if (entry.removed || !entry.checked) continue;
    const auto pool = std::ranges::find(config_.pools, entry.pool, &PoolConfig::name);
    const Endpoint address = pool->health.port == 0 ? entry.config.address : entry.config.address.with_port(pool->health.port);
    targets.push_back(ProbeTarget{entry.id, entry.label(), address, pool->health, pool->initially_up});
  }
  return targets;
}

bool World::pool_ready(const std::string& pool) const {
  return std::ranges::any_of(backends_, [&](const BackendEntry& entry) {
    return entry.pool == pool && !entry.removed && entry.weight() > 0 && shared_.board.ready(entry.id);
  });
}

BackendEntry* World::find_entry(const std::string& pool, const std::string& backend) {
  const auto entry = std::ranges::find_if(backends_, [&](const BackendEntry& known) {
    return known.pool == pool && known.config.name == backend && !known.removed;
  });
  return entry == backends_.end() ? nullptr : &*entry;
}

Result<void> World::set_intent(const std::string& pool, const std::string& backend, Intent intent) {
  BackendEntry* entry = find_entry(pool, backend);
  if (entry == nullptr) return fail(fmt::format("no backend {}/{}", pool, backend));
  entry->intent = intent;
  shared_.board.set_enabled(entry->id, intent == Intent::enabled);
  return {};
}

Result<void> World::set_weight(const std::string& pool, const std::string& backend, std::uint32_t weight) {
  BackendEntry* entry = find_entry(pool, backend);
  if (entry == nullptr) return fail(fmt::format("no backend {}/{}", pool, backend));
  if (weight > backend_weight_max) return fail(fmt::format("weight {} is above {}", weight, backend_weight_max));
  entry->operator_weight = weight;
  build_snapshot();
  return {};
}

}  // namespace usher
