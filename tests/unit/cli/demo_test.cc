// The demo's parts: its schedule, its configuration, its backends and its load.
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/demo_backend.h"
#include "cli/demo_client.h"
#include "cli/demo_history.h"
#include "cli/demo_load.h"
#include "cli/demo_schedule.h"
#include "cli/demo_setup.h"

using namespace usher;
using namespace usher::cli;
using namespace std::chrono_literals;

namespace {

/// Bounded; for what another thread brings about.
template <typename Condition>
bool comes_true(Condition condition) {
  const TimePoint deadline = Clock::now() + 10s;
  while (Clock::now() < deadline) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return false;
}

Fd never() { return Fd(::eventfd(0, EFD_CLOEXEC)); }

}  // namespace

TEST_CASE("a backend dies every 16 s, each in turn, for 8 s, and never two at once") {
  KillSchedule schedule(3);
  CHECK_FALSE(schedule.due(7999ms));
  CHECK(schedule.due(8s) == KillStep{KillAct::kill, 0});
  CHECK_FALSE(schedule.due(15999ms));
  CHECK(schedule.due(16s) == KillStep{KillAct::revive, 0});
  CHECK(schedule.due(24s) == KillStep{KillAct::kill, 1});
  CHECK(schedule.due(32s) == KillStep{KillAct::revive, 1});
  // After a pause of the process every step still comes, in order.
  CHECK(schedule.due(56s) == KillStep{KillAct::kill, 2});
  CHECK(schedule.due(56s) == KillStep{KillAct::revive, 2});
  CHECK(schedule.due(56s) == KillStep{KillAct::kill, 0});
  CHECK_FALSE(schedule.due(56s));
}

TEST_CASE("the demo's configuration names its listener, backends and doors") {
  const std::string text = demo_config_text({.listener = Endpoint::ipv4(INADDR_LOOPBACK, 8081),
                                             .http = Endpoint::ipv4(INADDR_LOOPBACK, 9901),
                                             .socket = "/tmp/d/admin.sock",
                                             .backends = {{"one", Endpoint::ipv4(INADDR_LOOPBACK, 4001)}}});
  for (const char* line :
       {"bind = [\"127.0.0.1:8081\"]\n", "http = \"127.0.0.1:9901\"\n", "socket = \"/tmp/d/admin.sock\"\n",
        "name = \"one\"\naddress = \"127.0.0.1:4001\"\n", "interval = \"500ms\"\nfast_interval = \"100ms\"\n"}) {
    CAPTURE(line);
    CHECK(text.find(line) != std::string::npos);
  }
}

TEST_CASE("a port that is taken is passed over, and none left is an error") {
  const Fd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Endpoint endpoint = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(taken.number(), endpoint.data(), endpoint.length()) == 0);
  REQUIRE(::listen(taken.number(), 1) == 0);
  sockaddr_storage bound{};
  socklen_t length = sizeof(bound);
  REQUIRE(::getsockname(taken.number(), reinterpret_cast<sockaddr*>(&bound), &length) == 0);
  const std::uint16_t port = Endpoint::from(reinterpret_cast<const sockaddr*>(&bound), length).port();
  CHECK_FALSE(free_port(port, port));
  const auto next = free_port(port, static_cast<std::uint16_t>(std::min(65535, port + 50)));
  REQUIRE(next);
  CHECK(*next > port);
}

TEST_CASE("the private directory is the user's alone, and leaves with what is in it") {
  std::string path;
  {
    const auto directory = PrivateDirectory::make();
    REQUIRE(directory);
    path = directory->path();
    CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::mask) ==
          std::filesystem::perms::owner_all);
    std::filesystem::create_directory(path + "/inside");
  }
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a demo backend answers with its name, on one connection and on many") {
  const auto backend = DemoBackend::start("one", Duration::zero());
  REQUIRE(backend);
  const Fd stop = never();
  DemoClient client((*backend)->address(), stop);
  for (int i = 0; i < 3; ++i) CHECK(client.request(Keep::alive) == "one");
  CHECK(client.connected());
  CHECK(client.request(Keep::once) == "one");
  CHECK_FALSE(client.connected());
  CHECK(client.request(Keep::once) == "one");
}

TEST_CASE("a slower backend takes its time") {
  const auto backend = DemoBackend::start("slow", 30ms);
  REQUIRE(backend);
  const Fd stop = never();
  DemoClient client((*backend)->address(), stop);
  const TimePoint begin = Clock::now();
  CHECK(client.request(Keep::alive) == "slow");
  CHECK(Clock::now() - begin >= 30ms);
}

TEST_CASE("a killed backend resets what it has and refuses what comes, and the same port serves when it is back") {
  const auto backend = DemoBackend::start("one", Duration::zero());
  REQUIRE(backend);
  const Fd stop = never();
  DemoClient kept((*backend)->address(), stop);
  REQUIRE(kept.request(Keep::alive) == "one");

  for (int round = 0; round < 3; ++round) {
    (*backend)->kill();
    CHECK_FALSE((*backend)->alive());
    REQUIRE(comes_true([&] {
      DemoClient fresh((*backend)->address(), stop);
      const auto answer = fresh.request(Keep::once);
      return !answer && answer.error().code == ECONNREFUSED;
    }));
    const auto answer = kept.request(Keep::alive);
    REQUIRE_FALSE(answer);
    CHECK((answer.error().code == ECONNRESET || answer.error().code == EPIPE || answer.error().code == ECONNREFUSED));

    (*backend)->revive();
    REQUIRE(comes_true([&] { return kept.request(Keep::alive).has_value(); }));
    CHECK((*backend)->alive());
  }
}

TEST_CASE("the load counts answers by backend, and its end waits for nothing") {
  const auto backend = DemoBackend::start("one", Duration::zero());
  REQUIRE(backend);
  const auto load = DemoLoad::start((*backend)->address());
  REQUIRE(load);
  REQUIRE(comes_true([&] { return (*load)->report().requests >= 20; }));
  const TimePoint begin = Clock::now();
  (*load)->stop();
  CHECK(Clock::now() - begin < DemoClient::timeout);
  const LoadReport report = (*load)->report();
  CHECK(report.errors == 0);
  CHECK(report.by_backend == std::map<std::string, std::uint64_t>{{"one", report.requests}});
  CHECK(report.latency.count() == report.requests);
}

TEST_CASE("a load on nothing counts errors, and keeps the last one's reason") {
  Endpoint nobody;
  {
    const auto backend = DemoBackend::start("gone", Duration::zero());
    REQUIRE(backend);
    nobody = (*backend)->address();
  }
  const auto load = DemoLoad::start(nobody);
  REQUIRE(load);
  REQUIRE(comes_true([&] { return (*load)->report().errors >= 5; }));
  (*load)->stop();
  const LoadReport report = (*load)->report();
  CHECK(report.errors == report.requests);
  CHECK(report.last_error.find("Connection refused") != std::string::npos);
}

TEST_CASE("the load's end interrupts a request that waits") {
  const auto backend = DemoBackend::start("asleep", 1h);
  REQUIRE(backend);
  const Fd stop(::eventfd(1, EFD_CLOEXEC));
  DemoClient client((*backend)->address(), stop);
  const auto answer = client.request(Keep::alive);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == ECANCELED);
}

TEST_CASE("rates are over the last seconds, events come once") {
  const TimePoint start = Clock::now();
  DemoHistory history(start);
  DemoMoment moment{.at = start, .status = {}, .backends = {}, .load = {}};
  moment.backends.resize(1);
  moment.backends[0].name = "one";
  moment.backends[0].health = "up";
  for (unsigned i = 0; i <= 50; ++i) {  // 100 a second at first, 50 a second later
    moment.at = start + 200ms * i;
    moment.status.connections_accepted += i < 20 ? 20 : 10;
    moment.backends[0].totals.connections = moment.status.connections_accepted;
    moment.load.latency.add(i < 20 ? 1s : 1ms);
    history.add(moment);
  }
  const ViewFrame frame = history.frame();
  CHECK_THAT(frame.connections_per_second, Catch::Matchers::WithinRel(50.0, 0.001));
  CHECK_THAT(frame.backends.at(0).per_second, Catch::Matchers::WithinRel(50.0, 0.001));
  CHECK(frame.running == 10s);
  CHECK(frame.p99 < 2ms);

  std::vector<Event> events(2);
  events[0] = {.number = 1, .at = {}, .kind = "start", .subject = "", .message = "usher serves"};
  events[1] = {.number = 2, .at = {}, .kind = "flip", .subject = "app/one", .message = "down: refused"};
  CHECK(history.add_events(events).size() == 2);
  CHECK(history.add_events(events).empty());
  REQUIRE(history.frame().events.size() == 2);
  CHECK(history.frame().events[1].ends_with("  flip     app/one down: refused"));
}

TEST_CASE("the summary is one JSON object with what was counted") {
  const TimePoint start = Clock::now();
  DemoHistory history(start);
  DemoMoment moment{.at = start + 2500ms, .status = {}, .backends = {}, .load = {}};
  moment.status.connections_accepted = 130;
  moment.backends.resize(2);
  moment.backends[0].name = "one";
  moment.backends[0].totals.flips = 2;
  moment.backends[1].name = "two";
  moment.load.requests = 120;
  moment.load.errors = 1;
  moment.load.by_backend = {{"one", 119}};
  moment.load.latency.add(1ms);
  history.add(moment);
  const std::string text = history.summary_json();
  CHECK(std::ranges::count(text, '\n') == 1);
  const auto summary = nlohmann::json::parse(text);
  CHECK(summary["seconds"] == 2.5);
  CHECK(summary["requests"] == 120);
  CHECK(summary["errors"] == 1);
  CHECK(summary["backends"] == nlohmann::json{{"one", 119}, {"two", 0}});
  CHECK(summary["flips"] == 2);
  CHECK(summary["connections_accepted"] == 130);
  CHECK_THAT(summary["p50_ms"].get<double>(), Catch::Matchers::WithinRel(1.0, 0.051));
  CHECK(summary["p99_ms"] == summary["p50_ms"]);
}
