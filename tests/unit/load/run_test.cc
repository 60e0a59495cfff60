// LoadRun against ServeRun, over loopback: every request counted, every ending told.
#include <sys/socket.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <memory>
#include <utility>

#include "usher/base/fd.h"
#include "usher/load/load_run.h"
#include "usher/load/serve_run.h"

using namespace usher;
using namespace usher::load;
using namespace std::chrono_literals;

namespace {

const Endpoint loopback = Endpoint::ipv4(INADDR_LOOPBACK, 0);

std::unique_ptr<ServeRun> backend(ServeKind kind, ServePlan plan = {}) {
  plan.kind = kind;
  plan.listen = {loopback};
  plan.connections_max = 256;
  auto run = ServeRun::start(plan);
  if (!run) FAIL(run.error().message);
  return std::move(*run);
}

LoadPlan plan_for(LoadMode mode, const ServeRun& serve) {
  LoadPlan plan;
  plan.mode = mode;
  plan.target = serve.addresses().front();
  plan.connections = 8;
  plan.warmup = Duration::zero();
  plan.duration = 20s;  // the outer bound; requests_max ends it
  plan.request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  plan.last_request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  if (mode == LoadMode::connect) plan.requests_per_connection = 1;
  return plan;
}

RunReport run_of(const LoadPlan& plan) {
  auto run = LoadRun::start(plan);
  if (!run) FAIL(run.error().message);
  auto report = (*run)->finish();
  if (!report) FAIL(report.error().message);
  return std::move(*report);
}

/// A listening socket that nobody accepts from, and its address.
struct Silent {
  Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  Endpoint address;
  explicit Silent(int backlog) {
    REQUIRE(::bind(socket.number(), loopback.data(), loopback.length()) == 0);
    if (backlog >= 0) REQUIRE(::listen(socket.number(), backlog) == 0);
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    REQUIRE(::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&storage), &length) == 0);
    address = Endpoint::from(reinterpret_cast<sockaddr*>(&storage), length);
  }
};

}  // namespace

TEST_CASE("every request is answered and counted once, on both sides, in each mode that has requests") {
  for (const LoadMode mode : {LoadMode::http, LoadMode::echo, LoadMode::connect}) {
    for (const unsigned threads : {1U, 2U}) {
      const auto serve = backend(mode == LoadMode::http ? ServeKind::http : ServeKind::answer);
      LoadPlan plan = plan_for(mode, *serve);
      plan.threads = threads;
      plan.requests_max = 501;
      const RunReport report = run_of(plan);
      serve->stop();
      CAPTURE(static_cast<int>(mode), threads);
      CHECK(report.ending == LoadEnding::requests_done);
      CHECK(report.errors.total() == 0);
      CHECK(report.total.requests == 501);
      CHECK(report.counted.requests == 501);
      CHECK(report.latency.count() == 501);
      CHECK(report.unanswered == 0);
      CHECK(serve->counts().requests == 501);
      CHECK(report.total.connects == (mode == LoadMode::connect ? 501 : 8));
      CHECK(serve->counts().accepted == report.total.connects);
      CHECK(serve->counts().bytes_received == report.total.bytes_sent);
      CHECK(serve->counts().bytes_sent == report.total.bytes_received);
      CHECK(serve->counts().refused == 0);
    }
  }
}

TEST_CASE("messages of any size come whole") {
  for (const std::uint32_t size : {8U, 9U, 4096U, 16384U, 16385U, 300'000U, 3'000'000U}) {
    for (const LoadMode mode : {LoadMode::echo, LoadMode::connect}) {
      const auto serve = backend(ServeKind::answer);
      LoadPlan plan = plan_for(mode, *serve);
      plan.requests_max = 20;
      plan.request_bytes = size;
      plan.answer_bytes = size + 1;
      const RunReport report = run_of(plan);
      CAPTURE(size);
      CHECK(report.errors.total() == 0);
      CHECK(report.total.requests == 20);
      CHECK(report.total.bytes_sent == 20ULL * size);
      CHECK(report.total.bytes_received == 20ULL * (size + 1));
    }
  }
}

TEST_CASE("http: bodies large and small, and connections that end after K requests") {
  for (const std::uint32_t body : {0U, 1U, 900U, 2000U, 1'000'000U}) {
    ServePlan served;
    served.body_bytes = body;
    const auto serve = backend(ServeKind::http, served);
    LoadPlan plan = plan_for(LoadMode::http, *serve);
    plan.requests_max = 40;
    plan.requests_per_connection = 4;
    plan.connections = 2;
    const RunReport report = run_of(plan);
    CAPTURE(body);
    CHECK(report.errors.total() == 0);
    CHECK(report.total.requests == 40);
    CHECK(report.total.connects >= 10);  // or one more, where the last requests fell to both
    CHECK(report.total.connects <= 11);
    CHECK(report.statuses[2] == 40);
    CHECK(report.total.bytes_received > 40ULL * body);
  }
}

TEST_CASE("an open loop keeps its rate when the target can") {
  const auto serve = backend(ServeKind::answer);
  LoadPlan plan = plan_for(LoadMode::echo, *serve);
  plan.rate = 1000;
  plan.duration = 300ms;
  const RunReport report = run_of(plan);
  CHECK(report.errors.total() == 0);
  CHECK(report.total.requests + report.unanswered + report.unsent >= 290);
  CHECK(report.total.requests <= 301);
}

TEST_CASE("an open loop whose target never answers says what was due and not sent") {
  const Silent silent(64);
  LoadPlan plan;
  plan.mode = LoadMode::echo;
  plan.target = silent.address;
  plan.connections = 2;
  plan.rate = 100;
  plan.warmup = Duration::zero();
  plan.duration = 300ms;
  const RunReport report = run_of(plan);
  CHECK(report.total.requests == 0);
  CHECK(report.unanswered == 2);
  CHECK(report.late_sends >= 20);
  CHECK(report.unsent <= report.late_sends);
  CHECK(report.unsent + 2 >= report.late_sends);  // two may have waited for the connects, and gone out
  CHECK(report.oldest_unanswered > 200ms);
}

TEST_CASE("streams go up, down and both ways") {
  for (const auto& [direction, kind] :
       {std::pair(Direction::up, ServeKind::sink), std::pair(Direction::down, ServeKind::source),
        std::pair(Direction::both, ServeKind::echo)}) {
    const auto serve = backend(kind);
    LoadPlan plan = plan_for(LoadMode::stream, *serve);
    plan.connections = 2;
    plan.direction = direction;
    plan.duration = 100ms;
    const RunReport report = run_of(plan);
    CHECK(report.errors.total() == 0);
    CHECK((report.total.bytes_sent > 1'000'000) == (direction != Direction::down));
    CHECK((report.total.bytes_received > 1'000'000) == (direction != Direction::up));
    CHECK(report.slices_whole == load_slices);
    CHECK(report.slice_latency[0].count() == 0);  // a stream has none
  }
}

TEST_CASE("a sink that discards counts the same bytes") {
  ServePlan served;
  served.sinking = Sinking::discarded;
  const auto serve = backend(ServeKind::sink, served);
  LoadPlan plan = plan_for(LoadMode::stream, *serve);
  plan.duration = 50ms;
  const RunReport report = run_of(plan);
  CHECK(report.errors.total() == 0);
  CHECK(report.total.bytes_sent > 0);
  serve->stop();
  CHECK(serve->counts().bytes_received > 0);
}

TEST_CASE("idle connections are held, and those that the peer closes are noticed") {
  auto serve = backend(ServeKind::echo);
  LoadPlan plan = plan_for(LoadMode::idle, *serve);
  plan.connections = 100;
  plan.request = "x";
  plan.duration = 10s;
  auto run = LoadRun::start(plan);
  REQUIRE(run);
  for (int i = 0; i < 500 && (*run)->progress().open < 100; ++i) (void)(*run)->wait(10ms);
  CHECK((*run)->progress().open == 100);
  serve.reset();
  for (int i = 0; i < 500 && (*run)->progress().open > 0; ++i) (void)(*run)->wait(10ms);
  (*run)->stop();
  const auto report = (*run)->finish();
  REQUIRE(report);
  CHECK(report->closed_by_peer == 100);
  CHECK(report->held == 0);
  CHECK(report->ending == LoadEnding::interrupted);
}

TEST_CASE("a dead target ends the run early, and is not hammered") {
  const Silent dead(-1);  // bound, and not listening
  LoadPlan plan;
  plan.target = dead.address;
  plan.request = "GET / HTTP/1.1\r\n\r\n";
  plan.connections = 4;
  plan.duration = 30s;
  const RunReport report = run_of(plan);
  CHECK(report.ending == LoadEnding::nothing_connected);
  CHECK(report.total.connects == 0);
  CHECK(report.errors[LoadError::connect_refused] == report.errors.total());
  CHECK(report.errors.total() >= 4);
  CHECK(report.errors.total() < 4 * 20);
  CHECK(report.errors.last_connect_errno == ECONNREFUSED);
}

TEST_CASE("a run of N requests ends when N were tried, though every connect is refused") {
  const Silent dead(-1);
  for (const unsigned threads : {1U, 2U}) {
    LoadPlan plan;
    plan.mode = LoadMode::connect;
    plan.requests_per_connection = 1;
    plan.target = dead.address;
    plan.connections = 50;
    plan.threads = threads;
    plan.warmup = Duration::zero();
    plan.requests_max = 100;
    plan.duration = 30s;
    const RunReport report = run_of(plan);
    CHECK(report.total.requests == 0);
    CHECK(report.errors[LoadError::connect_refused] == 100);
    CHECK(report.errors.total() == 100);
    CHECK(report.ending == LoadEnding::requests_done);
  }
}

TEST_CASE("a request whose connect fails was tried, and isn't tried again") {
  for (const LoadMode mode : {LoadMode::connect, LoadMode::http}) {
    for (const double rate : {0.0, 5000.0}) {
      const auto serve = backend(mode == LoadMode::http ? ServeKind::http : ServeKind::answer);
      LoadPlan plan = plan_for(mode, *serve);
      plan.requests_per_connection = 1;
      plan.rate = rate;
      plan.requests_max = 100;
      // Every third connect fails: that source isn't ours.
      plan.sources = {Endpoint::ipv4(INADDR_LOOPBACK + 1, 0), Endpoint::ipv4(INADDR_LOOPBACK + 2, 0),
                      *Endpoint::parse_ip("192.0.2.1", 0)};
      const RunReport report = run_of(plan);
      serve->stop();
      CAPTURE(static_cast<int>(mode), rate);
      CHECK(report.ending == LoadEnding::requests_done);
      CHECK(report.errors[LoadError::local] == 33);
      CHECK(report.errors.total() == 33);
      CHECK(report.total.requests == 67);
      CHECK(serve->counts().requests == 67);
    }
  }
}

TEST_CASE("where connections stay open, a connect that fails is no request") {
  const auto serve = backend(ServeKind::answer);
  LoadPlan plan = plan_for(LoadMode::echo, *serve);
  plan.sources = {loopback, *Endpoint::parse_ip("192.0.2.1", 0)};
  plan.requests_max = 100;
  const RunReport report = run_of(plan);
  CHECK(report.ending == LoadEnding::requests_done);
  CHECK(report.total.requests == 100);
  CHECK(report.errors[LoadError::local] >= 4);  // of eight connections; they try again
}

TEST_CASE("each tenth of the time has the latencies of the requests that were answered in it") {
  for (const unsigned threads : {1U, 2U}) {
    const auto serve = backend(ServeKind::answer);
    LoadPlan plan = plan_for(LoadMode::echo, *serve);
    plan.threads = threads;
    plan.warmup = 20ms;
    plan.duration = 100ms;
    const RunReport report = run_of(plan);
    REQUIRE(report.slices_whole == load_slices);
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < load_slices; ++i) {
      CHECK(report.slice_latency[i].count() == report.slices[i]);
      CHECK(report.slice_latency[i].max() <= report.latency.max());
      all += report.slice_latency[i].count();
    }
    CHECK(all > 0);
    CHECK(all <= report.latency.count());
  }
}

TEST_CASE("a request without an answer times out, and the connection is opened anew") {
  const Silent silent(64);
  LoadPlan plan;
  plan.mode = LoadMode::echo;
  plan.target = silent.address;
  plan.connections = 2;
  plan.timeout = 40ms;
  plan.warmup = Duration::zero();
  plan.requests_max = 4;
  plan.duration = 10s;
  const RunReport report = run_of(plan);
  CHECK(report.errors[LoadError::timeout] == 4);
  CHECK(report.errors.total() == 4);
  CHECK(report.total.connects >= 3);
  CHECK(report.ending == LoadEnding::requests_done);
}

TEST_CASE("answers of another protocol are bad, and clients of another protocol are cut off") {
  const auto serve = backend(ServeKind::answer);  // speaks no HTTP, and "GET " is a length of half a gigabyte
  LoadPlan plan = plan_for(LoadMode::http, *serve);
  plan.requests_max = 3;
  plan.timeout = 50ms;
  CHECK(run_of(plan).errors[LoadError::timeout] == 3);
  const auto echo = backend(ServeKind::echo);
  LoadPlan against_echo = plan_for(LoadMode::http, *echo);
  against_echo.requests_max = 3;
  CHECK(run_of(against_echo).errors[LoadError::bad_answer] == 3);
  const auto http = backend(ServeKind::http);
  LoadPlan against_http = plan_for(LoadMode::echo, *http);
  against_http.requests_max = 3;
  against_http.request_bytes = 20'000;
  const RunReport cut = run_of(against_http);
  CHECK(cut.total.requests == 0);
  CHECK(cut.errors[LoadError::closed_early] + cut.errors[LoadError::reset] == 3);
}

TEST_CASE("sources are used in turns") {
  const auto serve = backend(ServeKind::answer);
  LoadPlan plan = plan_for(LoadMode::connect, *serve);
  plan.sources = {Endpoint::ipv4(INADDR_LOOPBACK + 1, 0), Endpoint::ipv4(INADDR_LOOPBACK + 2, 0)};
  plan.requests_max = 50;
  const RunReport report = run_of(plan);
  CHECK(report.errors.total() == 0);
  CHECK(report.total.requests == 50);
  plan.sources = {*Endpoint::parse_ip("192.0.2.1", 0)};  // not ours
  plan.duration = 3s;
  const RunReport refused = run_of(plan);
  CHECK(refused.total.connects == 0);
  CHECK(refused.errors[LoadError::local] == refused.errors.total());
  CHECK(refused.errors.last_local_errno == EADDRNOTAVAIL);
}

TEST_CASE("an address that is taken is named") {
  const Silent taken(8);
  ServePlan plan;
  plan.listen = {taken.address};
  const auto run = ServeRun::start(plan);
  REQUIRE_FALSE(run);
  CHECK(run.error().message.find(taken.address.text()) != std::string::npos);
}
