// Checks of the file as a whole: what is there twice, what is referred to, what is missing.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "config/contradictions.h"
#include "config/schema.h"
#include "config/words.h"
#include "usher/policy/backend.h"

namespace usher {
namespace {

/// The tables of an array of tables; the config's elements have the same indexes.
std::span<const Node> tables(const Node& parent, std::string_view key) {
  const Node* list = parent.find(key);
  return list == nullptr ? std::span<const Node>{} : std::span<const Node>(list->items);
}

/// Finds names that come twice; an empty name was reported when it was read.
class Names {
 public:
  Names(std::string path, Report& report) : path_(std::move(path)), report_(report) {}
  void add(const std::string& name, Position at) {
    if (name.empty()) return;
    const auto [first, added] = first_.emplace(name, at);
    if (added) return;
    report_.error(at, fmt::format("{} = {} is used twice", path_, quoted(name)),
                  fmt::format("the first is in line {}; give each a name of its own", first->second.line));
  }

 private:
  std::string path_;
  Report& report_;
  std::map<std::string, Position> first_;
};

void check_binds(const Node& root, Report& report) {
  std::map<std::string, Position> first;
  const auto add = [&](const Node& node) {
    const auto endpoint = node.kind == Kind::text ? Endpoint::parse(node.text) : fail("");
    if (!endpoint || endpoint->port() == 0) return;  // port 0 is a port of its own each time
    const auto [other, added] = first.emplace(endpoint->text(), node.at);
    if (added) return;
    report.error(
        node.at, fmt::format("listener.bind = {} is used twice", quoted(node.text)),
        fmt::format("the first is in line {}; an address can be bound by one listener only", other->second.line));
  };
  for (const Node& listener : tables(root, "listener")) {
    const Node* bind = listener.find("bind");
    if (bind == nullptr) continue;
    add(*bind);
    for (const Node& item : bind->items) add(item);
  }
}

void check_listeners(const Node& root, const Config& config, Report& report) {
  const auto nodes = tables(root, "listener");
  if (root.find("listener") == nullptr || (root.find("listener")->kind == Kind::list && nodes.empty())) {
    report.error({}, "there is no [[listener]], so nothing to serve", "add a [[listener]] with name, bind and pool");
  }
  std::vector<std::string_view> pools;
  for (const PoolConfig& pool : config.pools) {
    if (!pool.name.empty()) pools.push_back(pool.name);
  }
  Names names("listener.name", report);
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const ListenerConfig& listener = config.listeners[i];
    names.add(listener.name, where(nodes[i], "name"));
    if (listener.pool.empty() || std::ranges::find(pools, listener.pool) != pools.end()) continue;
    const std::string_view meant = nearest(listener.pool, pools);
    std::string hint = fmt::format("add a [[pool]] with name = \"{}\"", listener.pool);
    if (!meant.empty()) hint = fmt::format("did you mean \"{}\"?", meant);
    report.error(where(nodes[i], "pool"),
                 fmt::format("listener.pool = {} is no pool of this file", quoted(listener.pool)), hint);
  }
  check_binds(root, report);
}

void check_backends(const Node& table, const PoolConfig& pool, Report& report) {
  const auto nodes = tables(table, "backend");
  Names names("pool.backend.name", report);
  std::map<std::string, Position> addresses;
  bool taking = false;
  for (std::size_t i = 0; i < pool.backends.size(); ++i) {
    const BackendConfig& backend = pool.backends[i];
    taking = taking || backend.weight > 0;
    const Position at = where(nodes[i], "address");
    names.add(backend.name, nodes[i].find("name") == nullptr ? at : where(nodes[i], "name"));
    if (!backend.address.set()) continue;
    const auto [first, added] = addresses.emplace(backend.address.text(), at);
    if (!added && backend.name != backend.address.text()) {
      report.warning(at, fmt::format("pool.backend.address = \"{}\" is in this pool twice", backend.address.text()),
                     fmt::format("the first is in line {}; a backend that should get more can have a higher weight",
                                 first->second.line));
    }
  }
  if (!pool.backends.empty() && !taking) {
    report.warning(where(nodes[0], "weight"),
                   fmt::format("every backend of pool {} has weight = 0, so it serves nothing", quoted(pool.name)),
                   "give at least one a weight of 1 or more");
  }
}

void check_pools(const Node& root, const Config& config, Report& report) {
  const auto nodes = tables(root, "pool");
  std::set<std::string_view> used;
  // a listener that names no pool of the file was reported, and may have meant any
  bool all_known = !config.listeners.empty();
  for (const ListenerConfig& listener : config.listeners) {
    used.insert(listener.pool);
    all_known = all_known && !listener.pool.empty() &&
                std::ranges::find(config.pools, listener.pool, &PoolConfig::name) != config.pools.end();
  }
  Names names("pool.name", report);
  std::size_t backends = 0;
  for (std::size_t i = 0; i < config.pools.size(); ++i) {
    const PoolConfig& pool = config.pools[i];
    const Node& node = nodes[i];
    backends += pool.backends.size();
    names.add(pool.name, where(node, "name"));
    check_backends(node, pool, report);
    const bool elsewhere = node.find("discovery") != nullptr || node.find("autoscale") != nullptr;  // refused as such
    const Node* written = node.find("backend");
    const bool none = written == nullptr || (written->kind == Kind::list && written->items.empty());
    if (none && !elsewhere && node.kind == Kind::table) {
      report.error(
          node.at,
          pool.name.empty() ? "the pool has no backend" : fmt::format("pool {} has no backend", quoted(pool.name)),
          "add a [[pool.backend]] with an address below it");
    }
    if (all_known && !pool.name.empty() && !used.contains(pool.name)) {
      report.warning(where(node, "name"), fmt::format("pool {} is used by no listener", quoted(pool.name)),
                     fmt::format("name it in a listener: pool = \"{}\"", pool.name));
    }
  }
  if (backends > backend_count_max) {
    report.error({}, fmt::format("the file has {} backends, at most {} can be held", backends, backend_count_max));
  }
}

}  // namespace

void check_config(const Node& root, const Config& config, Report& report) {
  check_listeners(root, config, report);
  check_pools(root, config, report);
  const auto listeners = tables(root, "listener");
  for (std::size_t i = 0; i < listeners.size() && i < config.listeners.size(); ++i) {
    warn_contradictions(listeners[i], config.listeners[i], config.global, report);
    const auto pool = std::ranges::find(config.pools, config.listeners[i].pool, &PoolConfig::name);
    if (pool != config.pools.end()) refuse_contradictions(listeners[i], config.listeners[i], *pool, report);
  }
  const auto pools = tables(root, "pool");
  for (std::size_t i = 0; i < pools.size() && i < config.pools.size(); ++i)
    warn_contradictions(pools[i], config.pools[i], report);
  if (const Node* admin = root.find("admin")) warn_contradictions(*admin, config.admin, report);
}

}  // namespace usher
