// Privileges: what is kept across the drop to global.user, and that a thread keeps it alone.
#include "control/privileges.h"

#include <thread>

#include <catch2/catch_test_macros.hpp>

using namespace usher;

namespace {

Config one_listener(Datapath datapath) {
  Config config;
  ListenerConfig listener;
  listener.datapath = datapath;
  config.listeners.push_back(listener);
  return config;
}

}  // namespace

TEST_CASE("a file that asks for the proxy alone keeps what binds and steers, and no more") {
  CHECK(kept_for(one_listener(Datapath::proxy), false) == (capability::net_bind_service | capability::bpf));
}

TEST_CASE("a file that may want the kernel datapath, or one that was left, keeps what that needs") {
  const Capabilities all = capability::net_bind_service | capability::bpf | capability::net_admin | capability::perfmon;
  CHECK(kept_for(one_listener(Datapath::kernel), false) == all);
  CHECK(kept_for(one_listener(Datapath::automatic), false) == all);
  CHECK(kept_for(one_listener(Datapath::proxy), true) == all);
}

TEST_CASE("without global.user nothing is given up") {
  const Capabilities before = own_capabilities();
  CHECK(drop_privileges(one_listener(Datapath::kernel)));
  CHECK(own_capabilities() == before);
}

TEST_CASE("a user that isn't there is named") {
  Config config = one_listener(Datapath::kernel);
  config.global.user = "nobody-of-that-name";
  const auto dropped = drop_privileges(config);
  REQUIRE_FALSE(dropped);
  CHECK(dropped.error().message.find("there is no user 'nobody-of-that-name'") != std::string::npos);
}

TEST_CASE("capabilities are a thread's own: one that keeps few leaves the others'") {
  const Capabilities before = own_capabilities();
  Capabilities there = ~Capabilities{0};
  std::thread([&] {
    REQUIRE(keep_capabilities(capability::bpf));
    there = own_capabilities();
  }).join();
  CHECK(there == (before & capability::bpf));
  CHECK(own_capabilities() == before);
}
