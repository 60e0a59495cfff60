// Prober: checks of real sockets on loopback, up, down, silent, slow and wrong.
#include "usher/control/prober.h"

#include <catch2/catch_test_macros.hpp>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "control/probe_attempt.h"
#include "probe_server.h"
#include "usher/base/log.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 10s;
const std::string ok_answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const std::string busy_answer = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";

struct Told {
  std::uint32_t id;
  std::string label;
  bool up;
  bool first;
  std::string reason;
};

/// Keeps every verdict, and waits for some.
class Listener {
 public:
  Prober::OnVerdict callback() {
    return [this](BackendId id, const std::string& label, const Flip& flip, bool first) {
      {
        const std::lock_guard lock(mutex_);
        told_.push_back({id.value, label, flip.up, first, flip.reason});
      }
      changed_.notify_all();
    };
  }
  /// The verdicts on `id`, once there are `count`; fewer when patience ran out.
  std::vector<Told> wait_for(std::uint32_t id, std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return of(id).size() >= count; });
    return of(id);
  }
  std::size_t wait_for_all(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return told_.size() >= count; });
    return told_.size();
  }
  std::vector<Told> now(std::uint32_t id) { return wait_for(id, 0); }

 private:
  std::vector<Told> of(std::uint32_t id) const {
    std::vector<Told> found;
    for (const Told& told : told_) {
      if (told.id == id) found.push_back(told);
    }
    return found;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Told> told_;
};

/// Counts aren't told by a callback, so they are polled for.
bool eventually(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

ProbeTarget target_at(std::uint32_t id, const Endpoint& address, CheckType type) {
  ProbeTarget target{.id = {id}, .label = "pool/" + std::to_string(id), .address = address, .options = {}};
  target.options.type = type;
  target.options.interval = 2ms;
  target.options.fast_interval = 1ms;
  target.options.timeout = patience;  // where a test isn't about time, a slow machine must not decide it
  return target;
}

std::unique_ptr<Prober> prober_for(Listener& listener) {
  auto prober = start_prober(listener.callback(), 42);
  REQUIRE(prober.has_value());
  return *std::move(prober);
}

/// Checks one target and gives its first verdict.
Told first_verdict(const ProbeTarget& target) {
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target});
  const auto told = listener.wait_for(target.id.value, 1);
  REQUIRE_FALSE(told.empty());
  CHECK(told.front().first);
  CHECK(told.front().label == target.label);
  return told.front();
}

TEST_CASE("a tcp check passes where somebody listens") {
  const ReservedPort port;
  const Fd open = port.listen(64);
  const Told told = first_verdict(target_at(1, port.address(), CheckType::tcp));
  CHECK(told.up);
  CHECK(told.reason == "the first check passed: connected");
}

TEST_CASE("a tcp check fails where nobody listens") {
  const ReservedPort port;
  const Told told = first_verdict(target_at(1, port.address(), CheckType::tcp));
  CHECK_FALSE(told.up);
  CHECK(told.reason == "the first check failed: connection refused");
}

TEST_CASE("a connect into a black hole is given up in time") {
  const ReservedPort port;
  const Fd full = port.listen(0);
  // Backlog 0 holds one connection that nobody accepts; the kernel drops every SYN after it.
  const Fd filler(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(filler.number(), port.address().data(), port.address().length()) == 0);
  pollfd waiting{full.number(), POLLIN, 0};
  REQUIRE(::poll(&waiting, 1, 10'000) == 1);
  ProbeTarget target = target_at(1, port.address(), CheckType::tcp);
  target.options.timeout = 20ms;
  const Told told = first_verdict(target);
  CHECK_FALSE(told.up);
  CHECK(told.reason == "the first check failed: timed out after 20ms while connecting");
}

TEST_CASE("a backend that starts up is still up after its first failure") {
  const ReservedPort port;
  ProbeTarget target = target_at(1, port.address(), CheckType::tcp);
  target.starts_up = true;
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target});
  const auto told = listener.wait_for(1, 2);
  REQUIRE(told.size() >= 2);
  CHECK(told[0].first);
  CHECK(told[0].up);
  CHECK_FALSE(told[1].first);
  CHECK_FALSE(told[1].up);
  CHECK(told[1].reason == "3 checks failed in a row: connection refused");
}

TEST_CASE("an http check tells what a server answered") {
  struct Row {
    const char* what;
    Manners manners;
    bool passes;
    std::string reason;
  };
  const std::string chunked =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
      "1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
  const std::string large = "HTTP/1.1 200 OK\r\n\r\n" + std::string(60'000, 'x') + "ok";
  const Row rows[] = {
      {"a good answer", {ok_answer}, true, "status 200, body has 'ok'"},
      {"a good answer on a connection that stays", {ok_answer, false, true}, true, "status 200, body has 'ok'"},
      {"a slow one", {ok_answer, true, false}, true, "status 200, body has 'ok'"},
      {"chunks, slowly, after 100", {chunked, true, true}, true, "status 200, body has 'ok'"},
      {"a large one", {large}, true, "status 200, body has 'ok'"},
      {"a wrong status", {busy_answer}, false, "status 503, expected 200-399"},
      {"a wrong body", {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"}, false, "body lacks 'ok'"},
      {"garbage", {"220 smtp ready\r\n"}, false, "answered no HTTP: '220 smtp ready'"},
      {"half garbage", {"HTTP/1.1 200 OK\r\nwhat now\r\n"}, false, "answered a bad header: 'what now'"},
      {"half an answer", {"HTTP/1.1 200 OK\r\nConte"}, false, "closed in the middle of its answer"},
      {"none", {""}, false, "closed before answering"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    ProbeServer server(row.manners);
    ProbeTarget target = target_at(1, server.address(), CheckType::http);
    target.options.expect_body = "ok";
    const Told told = first_verdict(target);
    CHECK(told.up == row.passes);
    CHECK(told.reason == (row.passes ? "the first check passed: " : "the first check failed: ") + row.reason);
  }
}

TEST_CASE("an http check that hears nothing is given up in time") {
  ProbeServer server({.answer = "", .holds = true});
  ProbeTarget target = target_at(1, server.address(), CheckType::http);
  target.options.timeout = 50ms;
  const std::string reason = first_verdict(target).reason;
  INFO(reason);
  CHECK(reason == "the first check failed: timed out after 50ms waiting for an answer");
}

TEST_CASE("an http check asks as it was told") {
  ProbeServer server({.answer = ok_answer});
  ProbeTarget target = target_at(1, server.address(), CheckType::http);
  target.options.path = "/ready";
  target.options.host = "app.internal";
  CHECK(first_verdict(target).up);
  CHECK(server.last_request().starts_with("GET /ready HTTP/1.1\r\nHost: app.internal\r\n"));
}

TEST_CASE("a backend goes down after fall failures and comes back after rise passes") {
  ProbeServer server({.answer = ok_answer});
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target_at(1, server.address(), CheckType::http)});
  REQUIRE(listener.wait_for(1, 1).size() == 1);
  server.behave({.answer = busy_answer});
  auto told = listener.wait_for(1, 2);
  REQUIRE(told.size() == 2);
  CHECK_FALSE(told[1].up);
  CHECK(told[1].reason == "3 checks failed in a row: status 503, expected 200-399");
  server.behave({.answer = ok_answer});
  told = listener.wait_for(1, 3);
  REQUIRE(told.size() == 3);
  CHECK(told[2].up);
  CHECK(told[2].reason == "2 checks passed in a row: status 200");
  CHECK_FALSE(told[2].first);
  const auto state = prober->state({1});
  REQUIRE(state);
  CHECK(state->up);
  CHECK(state->flips == 3);  // the first pass, which brought it up, is one
  CHECK(state->failed >= 3);
  CHECK(state->passed >= 3);
}

TEST_CASE("a port that opens, closes and opens again is followed") {
  const ReservedPort port;
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target_at(1, port.address(), CheckType::tcp)});
  REQUIRE(listener.wait_for(1, 1).size() == 1);
  {
    const Fd open = port.listen(64);
    const auto told = listener.wait_for(1, 2);
    REQUIRE(told.size() == 2);
    CHECK(told[1].up);
  }
  const auto told = listener.wait_for(1, 3);
  REQUIRE(told.size() == 3);
  CHECK_FALSE(told[2].up);
  const Fd open = port.listen(64);
  CHECK(listener.wait_for(1, 4).size() == 4);
}

TEST_CASE("the fast interval is for deciding, the long one for what is decided") {
  const ReservedPort port;
  const ReservedPort metronome;
  ProbeTarget target = target_at(1, port.address(), CheckType::tcp);
  target.options.interval = 1h;
  target.starts_up = true;
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target, target_at(2, metronome.address(), CheckType::tcp)});
  REQUIRE(listener.wait_for(1, 2).size() == 2);  // three checks within milliseconds, at an interval of an hour
  CHECK(prober->state({1})->failed == 3);
  const std::uint64_t before = prober->state({2})->failed;
  REQUIRE(eventually([&] { return prober->state({2})->failed >= before + 30; }));
  CHECK(prober->state({1})->failed == 3);
}

TEST_CASE("what is known is kept when the list is replaced, and new options hold at once") {
  ProbeServer server({.answer = ok_answer});
  ProbeTarget target = target_at(1, server.address(), CheckType::http);
  target.options.interval = 1h;
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target});
  REQUIRE(listener.wait_for(1, 1).size() == 1);

  target.label = "pool/renamed";
  prober->set_targets({target});
  CHECK(prober->state({1})->up);
  CHECK(prober->state({1})->passed == 1);

  target.options.expect_body = "missing";
  target.options.fall = 2;
  prober->set_targets({target});
  CHECK(prober->state({1})->up);
  CHECK(prober->state({1})->passed == 1);
  const auto told = listener.wait_for(1, 2);
  REQUIRE(told.size() == 2);
  CHECK_FALSE(told[1].first);
  CHECK(told[1].label == "pool/renamed");
  CHECK(told[1].reason == "2 checks failed in a row: body lacks 'missing'");
}

TEST_CASE("a check that stays isn't restarted by a reload that changes nothing") {
  ProbeServer server({.answer = "", .holds = true});
  ProbeTarget target = target_at(1, server.address(), CheckType::http);
  target.options.timeout = 200ms;
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target});
  // Replaced all the time, a check that began anew each time would never end.
  REQUIRE(eventually([&] {
    prober->set_targets({target});
    return prober->state({1})->failed > 0;
  }));
}

TEST_CASE("a backend that moves is a new one") {
  const ReservedPort port;
  const Fd open = port.listen(64);
  const ReservedPort elsewhere;
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target_at(1, port.address(), CheckType::tcp)});
  REQUIRE(listener.wait_for(1, 1).size() == 1);
  prober->set_targets({target_at(1, elsewhere.address(), CheckType::tcp)});
  CHECK_FALSE(prober->state({1})->up);
  const auto told = listener.wait_for(1, 2);
  REQUIRE(told.size() == 2);
  CHECK(told[1].first);
  CHECK_FALSE(told[1].up);
}

TEST_CASE("a removed backend is forgotten, and its check under way is dropped") {
  ProbeServer server({.answer = "", .holds = true});
  const ReservedPort metronome;
  Listener listener;
  const auto prober = prober_for(listener);
  const ProbeTarget stays = target_at(2, metronome.address(), CheckType::tcp);
  prober->set_targets({target_at(1, server.address(), CheckType::http), stays});
  REQUIRE(eventually([&] { return server.holding() == 1; }));
  prober->set_targets({stays});
  CHECK_FALSE(prober->state({1}));
  CHECK(eventually([&] { return server.holding() == 0; }));
  const std::uint64_t before = prober->state({2})->failed;
  REQUIRE(eventually([&] { return prober->state({2})->failed >= before + 10; }));
  CHECK(listener.now(1).empty());
}

TEST_CASE("a prober stops with checks under way, and tells nothing of them") {
  ProbeServer server({.answer = "", .holds = true});
  Listener listener;
  {
    const auto prober = prober_for(listener);
    prober->set_targets({target_at(1, server.address(), CheckType::http)});
    REQUIRE(eventually([&] { return server.holding() == 1; }));
  }
  CHECK(listener.now(1).empty());
  CHECK(eventually([&] { return server.holding() == 0; }));
}

TEST_CASE("targets that aren't checked and doubles are left out") {
  const ReservedPort port;
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets({target_at(1, port.address(), CheckType::none), target_at(2, port.address(), CheckType::tcp),
                       target_at(2, port.address(), CheckType::tcp)});
  CHECK_FALSE(prober->state({1}));
  REQUIRE(listener.wait_for(2, 1).size() == 1);
}

TEST_CASE("hundreds of backends are checked by one thread") {
  constexpr std::uint32_t count = 600;
  const ReservedPort closed;
  const ReservedPort port;
  const Fd open = port.listen(512);
  ProbeServer web({.answer = ok_answer});
  std::vector<ProbeTarget> targets;
  for (std::uint32_t id = 0; id < count; ++id) {
    const Endpoint& address = id % 3 == 0 ? closed.address() : id % 3 == 1 ? port.address() : web.address();
    targets.push_back(target_at(id, address, id % 3 == 2 ? CheckType::http : CheckType::tcp));
    targets.back().options.interval = 1h;
  }
  Listener listener;
  const auto prober = prober_for(listener);
  prober->set_targets(targets);
  CHECK(listener.wait_for_all(count) == count);
  for (std::uint32_t id = 0; id < count; ++id) {
    const auto told = listener.now(id);
    INFO(id << (told.empty() ? "" : told[0].reason));
    REQUIRE(told.size() == 1);
    CHECK(told[0].up == (id % 3 != 0));
  }
}

TEST_CASE("running out of descriptors is not the backend's failure") {
  const ReservedPort port;
  const Fd open = port.listen(64);
  Listener listener;
  const auto prober = prober_for(listener);
  // UBSan opens a pipe to look at an object of a class that it hasn't met, and calls the object broken when it can't:
  // let it meet the log's classes now.
  log_warning("test", "this test runs out of descriptors; one warning of it follows");
  rlimit usual{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &usual) == 0);
  const rlimit none{0, usual.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);  // what is open stays open, but nothing new can be
  ProbeTarget target = target_at(1, port.address(), CheckType::tcp);
  target.starts_up = true;
  target.options.fall = 1;
  prober->set_targets({target});
  const bool noticed = eventually([&] { return !prober->state({1})->reason.empty(); });
  const auto state = prober->state({1});
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &usual) == 0);
  REQUIRE(noticed);
  CHECK(state->reason == "no local address or descriptor: Too many open files");
  CHECK(state->up);
  CHECK_FALSE(state->judged);
  CHECK(state->failed == 0);
  const auto told = listener.wait_for(1, 1);  // and it goes on when there are descriptors again
  REQUIRE(told.size() == 1);
  CHECK(told[0].up);
  CHECK(told[0].reason == "the first check passed: connected");
}

TEST_CASE("a connection from a port to itself is not a backend that listens") {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(socket.number(), any.data(), any.length()) == 0);
  sockaddr_in self{};
  socklen_t length = sizeof self;
  REQUIRE(::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&self), &length) == 0);
  REQUIRE(::connect(socket.number(), reinterpret_cast<const sockaddr*>(&self), length) == 0);
  const Endpoint address = Endpoint::from(reinterpret_cast<const sockaddr*>(&self), length);
  CHECK(is_connected_to_itself(socket, address));
  CHECK_FALSE(is_connected_to_itself(socket, any));
}

TEST_CASE("shortages of ours are told from failures of the backend's") {
  for (const int code : {EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL}) CHECK(is_local_problem(code));
  for (const int code : {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH}) CHECK_FALSE(is_local_problem(code));
}

}  // namespace
}  // namespace usher
