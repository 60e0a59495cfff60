// World: what a reload keeps, changes and refuses. Binds loopback ports, dials nothing.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <map>

#include <catch2/catch_test_macros.hpp>

#include "control/listen.h"
#include "control/world.h"

using namespace usher;

namespace {

Endpoint free_address() {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(socket.number(), any.data(), any.length()) == 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length);
  return Endpoint::from(reinterpret_cast<sockaddr*>(&address), length);
}

BackendConfig backend(const std::string& name, std::uint16_t port, std::uint32_t weight = 100) {
  BackendConfig config;
  config.name = name;
  config.address = Endpoint::ipv4(INADDR_LOOPBACK, port);
  config.weight = weight;
  return config;
}

struct Ground {
  Shared shared;
  Sheets sheets;
  std::unique_ptr<Steering> steering = make_steering(1);
  std::map<std::uint32_t, std::uint64_t> kernel_flows;
  World world{shared, *steering, sheets, [this](BackendId id) { return kernel_flows[id.value]; }};
  Config config;

  Ground() {
    sheets.push_back(std::make_unique<Sheet>());
    ListenerConfig listener;
    listener.name = "web";
    listener.bind = {free_address()};
    listener.pool = "app";
    PoolConfig pool;
    pool.name = "app";
    pool.backends = {backend("a", 1001), backend("b", 1002)};
    config.listeners = {listener};
    config.pools = {pool};
    REQUIRE(world.apply(config).has_value());
  }
  BackendEntry entry(const std::string& name) {
    const auto found = std::ranges::find_if(world.backends(), [&](const BackendEntry& known) { return known.config.name == name && !known.removed; });
    REQUIRE(found != world.backends().end());
    return *found;
  }
  std::vector<std::string> reload() {
    auto changes = world.apply(config);
    REQUIRE(changes.has_value());
    return *changes;
  }
};

bool said(const std::vector<std::string>& changes, const std::string& sentence) {
  return std::ranges::find(changes, sentence) != changes.end();
}

}  // namespace

TEST_CASE("a start makes a plan for each listener and a cell for each backend") {
  Ground ground;
  const auto snapshot = ground.world.snapshot();
  REQUIRE(snapshot->listeners.size() == 1);
  CHECK(snapshot->listeners[0]->pool->backends.size() == 2);
  CHECK_FALSE(ground.world.pool_ready("app"));
  ground.shared.board.set_healthy(ground.entry("a").id, true);
  CHECK(ground.world.pool_ready("app"));
  CHECK(ground.world.check_targets().size() == 2);
}

TEST_CASE("a reload that changes nothing says nothing, and keeps sockets, ids, picker and health") {
  Ground ground;
  const auto before = ground.world.snapshot();
  const BackendId id = ground.entry("a").id;
  ground.shared.board.set_healthy(id, true);
  CHECK(ground.reload().empty());
  const auto after = ground.world.snapshot();
  CHECK(after->listeners[0]->groups[0] == before->listeners[0]->groups[0]);
  CHECK(after->listeners[0]->pool == before->listeners[0]->pool);
  CHECK(ground.entry("a").id == id);
  CHECK(ground.shared.board.ready(id));
}

TEST_CASE("backends come and go, and those that stay keep what is known of them") {
  Ground ground;
  const BackendId b = ground.entry("b").id;
  ground.shared.board.set_healthy(b, true);
  ground.shared.board[ground.entry("a").id].active = 3;
  ground.config.pools[0].backends = {backend("b", 1002, 50), backend("c", 1003)};
  const auto changes = ground.reload();
  CHECK(said(changes, "backend app/a: removed; its 3 sessions go on"));
  CHECK(said(changes, "backend app/b: weight 100 -> 50"));
  CHECK(said(changes, "backend app/c: added at 127.0.0.1:1003"));
  CHECK(ground.entry("b").id == b);
  CHECK(ground.shared.board.ready(b));
  CHECK_FALSE(ground.shared.board.ready(ground.entry("c").id));
}

TEST_CASE("a removed backend's number is used again only when its last session is gone, and counts from nought") {
  Ground ground;
  const BackendId a = ground.entry("a").id;
  ground.sheets[0]->backend(a.value).connections.add(7);
  ground.shared.board[a].active = 1;
  ground.config.pools[0].backends = {backend("b", 1002)};
  ground.reload();
  const TimePoint later = Clock::now() + std::chrono::hours(1);
  ground.world.forget_the_gone(later);
  CHECK(ground.world.backends().size() == 2);
  ground.shared.board[a].active = 0;
  ground.world.forget_the_gone(Clock::now());  // a worker may still have the old snapshot
  CHECK(ground.world.backends().size() == 2);
  ground.world.forget_the_gone(later);
  CHECK(ground.world.backends().size() == 1);
  ground.config.pools[0].backends.push_back(backend("d", 1004));
  ground.reload();
  const BackendEntry d = ground.entry("d");
  CHECK(d.id == a);
  BackendTally tally = sum_backend(ground.sheets, d.id.value);
  tally -= d.base;
  CHECK(tally.totals.connections == 0);
}

TEST_CASE("a removed backend is kept while the kernel datapath has flows of it") {
  Ground ground;
  const BackendId a = ground.entry("a").id;
  ground.kernel_flows[a.value] = 2;
  ground.config.pools[0].backends = {backend("b", 1002)};
  CHECK(said(ground.reload(), "backend app/a: removed; its 2 kernel flows go on"));
  const TimePoint later = Clock::now() + std::chrono::hours(1);
  ground.world.forget_the_gone(later);
  REQUIRE(ground.world.backends().size() == 2);
  CHECK(ground.world.backends()[0].removed);
  ground.kernel_flows[a.value] = 0;
  ground.world.forget_the_gone(later);
  CHECK(ground.world.backends().size() == 1);
}

TEST_CASE("a name with another address is another server") {
  Ground ground;
  const BackendId a = ground.entry("a").id;
  ground.shared.board.set_healthy(a, true);
  ground.config.pools[0].backends[0] = backend("a", 1099);
  ground.reload();
  CHECK(ground.entry("a").id != a);
  CHECK_FALSE(ground.shared.board.ready(ground.entry("a").id));
}

TEST_CASE("a reload that can't bind changes nothing") {
  Ground ground;
  const auto before = ground.world.snapshot();
  Fd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint address = free_address();
  REQUIRE(::bind(taken.number(), address.data(), address.length()) == 0);
  REQUIRE(::listen(taken.number(), 1) == 0);
  ListenerConfig second = ground.config.listeners[0];
  second.name = "second";
  second.bind = {address};
  ground.config.listeners.push_back(second);
  ground.config.pools[0].backends.pop_back();
  const auto changes = ground.world.apply(ground.config);
  REQUIRE_FALSE(changes.has_value());
  CHECK(changes.error().message.find("listener second: can't bind " + address.text() + ": Address already in use") == 0);
  CHECK(ground.world.snapshot() == before);
  CHECK_FALSE(ground.entry("b").removed);
  CHECK(ground.world.config().listeners.size() == 1);
}

TEST_CASE("an address that another SO_REUSEPORT process listens on is refused, not shared") {
  ListenerConfig listener;
  listener.name = "web";
  const Endpoint address = free_address();
  const auto first = open_group(listener, address, 2);
  REQUIRE(first.has_value());
  CHECK_FALSE(open_group(listener, address, 2).has_value());
}

TEST_CASE("an operator's weight and drain outlive a reload, until the file says another weight") {
  Ground ground;
  REQUIRE(ground.world.set_weight("app", "a", 7).has_value());
  REQUIRE(ground.world.set_intent("app", "b", Intent::drain).has_value());
  CHECK(ground.world.snapshot()->listeners[0]->pool->backends[0].weight == 7);
  ground.shared.board.set_healthy(ground.entry("b").id, true);
  ground.reload();
  CHECK(ground.entry("a").weight() == 7);
  CHECK_FALSE(ground.shared.board.ready(ground.entry("b").id));
  ground.config.pools[0].backends[0].weight = 20;
  ground.reload();
  CHECK(ground.entry("a").weight() == 20);
  REQUIRE(ground.world.set_intent("app", "b", Intent::enabled).has_value());
  CHECK(ground.shared.board.ready(ground.entry("b").id));
}

TEST_CASE("unknown names and impossible weights are refused in a sentence") {
  Ground ground;
  CHECK(ground.world.set_intent("app", "z", Intent::drain).error().message == "no backend app/z");
  CHECK(ground.world.set_weight("zoo", "a", 1).error().message == "no backend zoo/a");
  CHECK(ground.world.set_weight("app", "a", 70000).error().message == "weight 70000 is above 65535");
}
