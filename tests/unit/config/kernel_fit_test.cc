// why_not_kernel: what a listener and its pool ask for that only the proxy does.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <functional>

#include "usher/config/config.h"

using namespace usher;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Case {
  ListenerConfig listener{.name = "web", .bind = {*Endpoint::parse("10.0.0.1:80")}, .pool = "app", .datapath = Datapath::automatic};
  PoolConfig pool;

  Case() {
    pool.name = "app";
    pool.picker.algorithm = Algorithm::two_choices;
    pool.backends.push_back(BackendConfig{.name = "a", .address = *Endpoint::parse("10.0.0.11:80")});
  }
  [[nodiscard]] std::string why() const { return why_not_kernel(listener, pool).value_or("it fits"); }
};

std::string with(const std::function<void(Case&)>& change) {
  Case one;
  change(one);
  return one.why();
}

}  // namespace

TEST_CASE("two_choices and maglev fit the kernel, every other algorithm needs the proxy") {
  CHECK(Case().why() == "it fits");
  CHECK(with([](Case& c) { c.pool.picker.algorithm = Algorithm::maglev; }) == "it fits");
  for (const Algorithm other : {Algorithm::round_robin, Algorithm::random, Algorithm::least_connections, Algorithm::least_latency,
                                Algorithm::source_hash}) {
    CHECK_THAT(with([&](Case& c) { c.pool.picker.algorithm = other; }), ContainsSubstring("algorithm"));
  }
}

TEST_CASE("each feature that only the proxy has is named") {
  CHECK_THAT(with([](Case& c) { c.listener.accept_proxy_protocol = true; }), ContainsSubstring("accept_proxy_protocol"));
  CHECK_THAT(with([](Case& c) { c.listener.allow.push_back(*Cidr::parse("10.0.0.0/8")); }), ContainsSubstring("allow"));
  CHECK_THAT(with([](Case& c) { c.listener.deny.push_back(*Cidr::parse("10.0.0.0/8")); }), ContainsSubstring("deny"));
  CHECK_THAT(with([](Case& c) { c.listener.max_connections = 9; }), ContainsSubstring("max_connections"));
  CHECK_THAT(with([](Case& c) { c.listener.tcp_fast_open = true; }), ContainsSubstring("tcp_fast_open"));
  CHECK_THAT(with([](Case& c) { c.pool.send_proxy_protocol = ProxyProtocol::v2; }), ContainsSubstring("send_proxy_protocol"));
  CHECK_THAT(with([](Case& c) { c.pool.bind_source = Endpoint::parse_ip("10.0.0.1", 0).value(); }), ContainsSubstring("bind_source"));
  CHECK_THAT(with([](Case& c) { c.pool.max_lifetime = std::chrono::hours(1); }), ContainsSubstring("max_lifetime"));
  CHECK_THAT(with([](Case& c) { c.pool.picker.panic_threshold = 0.5; }), ContainsSubstring("panic_threshold"));
  CHECK_THAT(with([](Case& c) { c.pool.backends[0].max_connections = 5; }), ContainsSubstring("max_connections of backend a"));
}

TEST_CASE("nat keeps to one family, dsr wraps either, and leaves the port as it is") {
  const auto other_family = [](Case& c) { c.pool.backends[0].address = *Endpoint::parse("[fd00::1]:80"); };
  CHECK_THAT(with(other_family), ContainsSubstring("families"));
  CHECK(with([&](Case& c) {
          other_family(c);
          c.listener.bind.push_back(*Endpoint::parse("[::]:80"));
        }) == "it fits");
  CHECK(with([&](Case& c) {
          other_family(c);
          c.listener.kernel_mode = Forwarding::dsr;
        }) == "it fits");
  CHECK_THAT(with([](Case& c) {
               c.listener.kernel_mode = Forwarding::dsr;
               c.pool.backends[0].address = *Endpoint::parse("10.0.0.11:8080");
             }),
             ContainsSubstring("backend a has 8080 where the listener has 80"));
}
