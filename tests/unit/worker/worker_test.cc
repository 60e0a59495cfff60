// Worker: real sockets on loopback, one worker, backends in threads of the test. Each case ends with the laws.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "usher/metrics/counters.h"
#include "usher/worker/worker.h"

using namespace usher;
using namespace std::chrono_literals;

namespace {

constexpr int patience_ms = 10000;

struct Listening {
  Fd socket;
  Endpoint address;
};

Listening listen_on_loopback(int backlog = 128) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(socket.number(), any.data(), any.length()) == 0);
  REQUIRE(::listen(socket.number(), backlog) == 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  REQUIRE(::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return {std::move(socket), Endpoint::from(reinterpret_cast<sockaddr*>(&address), length)};
}

Fd connect_to(const Endpoint& address) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(socket.number(), address.data(), address.length()) == 0);
  return socket;
}

void reset_on_close(const Fd& socket) {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket.number(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

bool readable(const Fd& socket) {
  pollfd wait{.fd = socket.number(), .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, patience_ms) == 1;
}

/// Everything up to the end; `code` is 0 for a FIN, or the errno that ended it.
std::string read_all(const Fd& socket, int& code) {
  std::string all;
  char buffer[65536];
  while (true) {
    if (!readable(socket)) {
      code = ETIMEDOUT;
      return all;
    }
    const ssize_t got = ::recv(socket.number(), buffer, sizeof buffer, 0);
    if (got <= 0) {
      code = got == 0 ? 0 : errno;
      return all;
    }
    all.append(buffer, static_cast<std::size_t>(got));
  }
}

std::string read_some(const Fd& socket, std::size_t bytes) {
  std::string all;
  char buffer[65536];
  while (all.size() < bytes && readable(socket)) {
    const ssize_t got = ::recv(socket.number(), buffer, std::min(sizeof buffer, bytes - all.size()), 0);
    if (got <= 0) break;
    all.append(buffer, static_cast<std::size_t>(got));
  }
  return all;
}

bool write_all(const Fd& socket, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::send(socket.number(), text.data(), text.size(), MSG_NOSIGNAL);
    if (put <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

bool eventually(const std::function<bool()>& holds) {
  const TimePoint until = Clock::now() + std::chrono::milliseconds(patience_ms);
  while (Clock::now() < until) {
    if (holds()) return true;
    std::this_thread::yield();
  }
  return holds();
}

/// A worker with one listener, and a pool of the given addresses.
class House {
 public:
  explicit House(const std::vector<Endpoint>& backends, const std::function<void(PoolPlan&, ListenerPlan&)>& shape = {},
                 std::uint32_t sessions_max = 64, std::uint16_t pipes_max = 16) {
    ::signal(SIGPIPE, SIG_IGN);
    shared_.sessions_max = sessions_max;
    auto pool = std::make_shared<PoolPlan>();
    pool->name = "pool";
    for (std::uint32_t i = 0; i < backends.size(); ++i) {
      pool->backends.push_back(Backend{.id = BackendId{i}, .name = "b" + std::to_string(i), .address = backends[i]});
      shared_.board.set_enabled(BackendId{i}, true);
      shared_.board.set_healthy(BackendId{i}, true);
    }
    PickerOptions options;
    options.algorithm = Algorithm::round_robin;
    pool->picker = make_picker(options, pool->backends, shared_.board);
    auto listener = std::make_shared<ListenerPlan>();
    listener->name = "door";
    auto group = std::make_shared<ListenGroup>();
    Listening listening = listen_on_loopback();
    ::fcntl(listening.socket.number(), F_SETFL, O_NONBLOCK);
    address_ = listening.address;
    group->address = address_;
    group->sockets.push_back(std::move(listening.socket));
    listener->groups.push_back(group);
    if (shape) shape(*pool, *listener);
    listener->pool = pool;
    auto snapshot = std::make_shared<Snapshot>();
    snapshot->listeners.push_back(listener);
    WorkerOptions worker_options;
    worker_options.pipes_max = pipes_max;
    auto started = Worker::start(worker_options, shared_, sheet_);
    if (!started) FAIL(started.error().message);
    worker_ = std::move(*started);
    worker_->publish(snapshot);
  }

  ~House() {
    worker_->drain(TimePoint{});
    CHECK(eventually([&] { return worker_->finished(); }));
    const WorkerCounters& worker = sheet_.worker;
    const ListenerCounters& listener = sheet_.listener(0);
    std::uint64_t closed = 0;
    for (const Counter& count : listener.closed) closed += count.get();
    CHECK(listener.accepted.get() == listener.active.get() + closed);
    CHECK(listener.active.get() == 0);
    CHECK(worker.bytes_filled.get() == worker.bytes_drained.get() + worker.bytes_piped.get() + worker.bytes_discarded.get());
    CHECK(worker.bytes_piped.get() == 0);
    CHECK(worker.operations_submitted.get() == worker.operations_completed.get());
    CHECK(worker.operations_in_flight.get() == 0);
    CHECK(worker.pipes_leased.get() == 0);
    CHECK(shared_.sessions.load() == 0);
    for (std::uint32_t i = 0; i < 8; ++i) CHECK(shared_.board[BackendId{i}].active.load() == 0);
  }

  [[nodiscard]] const Endpoint& address() const { return address_; }
  Worker& worker() { return *worker_; }
  Shared& shared() { return shared_; }
  std::uint64_t closed(Outcome outcome) { return sheet_.listener(0).closed[static_cast<std::size_t>(outcome)].get(); }
  bool ends_with(Outcome outcome, std::uint64_t count = 1) {
    return eventually([&] { return closed(outcome) == count; });
  }
  Sheet& sheet() { return sheet_; }

 private:
  Shared shared_;
  Sheet sheet_;
  Endpoint address_;
  std::unique_ptr<Worker> worker_;
};

/// Accepts one connection of the worker.
Fd accepted(const Listening& backend) {
  REQUIRE(readable(backend.socket));
  Fd socket(::accept(backend.socket.number(), nullptr, nullptr));
  REQUIRE(socket.open());
  return socket;
}

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 31 + (i >> 8) * 7);
  return text;
}

}  // namespace

TEST_CASE("bytes go through both ways, and a FIN each way ends the session as served") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  Fd client = connect_to(house.address());
  REQUIRE(write_all(client, "question"));
  Fd server = accepted(backend);
  CHECK(read_some(server, 8) == "question");
  REQUIRE(write_all(server, "answer"));
  CHECK(read_some(client, 6) == "answer");
  ::shutdown(client.number(), SHUT_WR);
  int code = -1;
  CHECK(read_all(server, code).empty());
  CHECK(code == 0);
  // Half-closed: the other direction goes on.
  REQUIRE(write_all(server, "last word"));
  server.reset();
  CHECK(read_all(client, code) == "last word");
  CHECK(code == 0);
  CHECK(house.ends_with(Outcome::served));
  CHECK(house.sheet().listener(0).bytes_in.get() == 8);
  CHECK(house.sheet().listener(0).bytes_out.get() == 15);
}

TEST_CASE("a server that speaks first is heard") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  REQUIRE(write_all(server, "220 ready\r\n"));
  CHECK(read_some(client, 11) == "220 ready\r\n");
}

TEST_CASE("many megabytes arrive whole in both directions at once, a pipe or none") {
  const std::uint16_t pipes = GENERATE(as<std::uint16_t>(), 0, 1, 16);
  CAPTURE(pipes);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, {}, 64, pipes);
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  const std::string up = pattern(9'000'001);
  const std::string down = pattern(7'654'321);
  std::thread client_writer([&] {
    write_all(client, up);
    ::shutdown(client.number(), SHUT_WR);
  });
  std::thread server_writer([&] {
    write_all(server, down);
    ::shutdown(server.number(), SHUT_WR);
  });
  std::string got_up;
  int up_code = -1;
  std::thread server_reader([&] { got_up = read_all(server, up_code); });
  int code = -1;
  const std::string got_down = read_all(client, code);
  client_writer.join();
  server_writer.join();
  server_reader.join();
  CHECK(code == 0);
  CHECK(up_code == 0);
  CHECK((got_down == down));
  CHECK((got_up == up));
  CHECK(house.ends_with(Outcome::served));
  if (pipes == 0) CHECK(house.sheet().worker.pipes_short.get() > 0);
}

TEST_CASE("a client's reset reaches the backend as a reset") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  REQUIRE(write_all(client, "x"));
  CHECK(read_some(server, 1) == "x");
  reset_on_close(client);
  client.reset();
  int code = 0;
  read_all(server, code);
  CHECK(code == ECONNRESET);
  CHECK(house.ends_with(Outcome::client_gone));
}

TEST_CASE("a backend's reset reaches the client as a reset, behind the bytes that came before it") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  REQUIRE(write_all(server, "half an ans"));
  CHECK(read_some(client, 11) == "half an ans");
  reset_on_close(server);
  server.reset();
  int code = 0;
  read_all(client, code);
  CHECK(code == ECONNRESET);
  CHECK(house.ends_with(Outcome::backend_gone));
}

TEST_CASE("a FIN behind bytes that rest in a pipe comes after them") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  // Far more than socket buffers hold while nobody reads, then a FIN at once.
  const std::string text = pattern(20'000'000);
  std::thread writer([&] {
    write_all(client, text);
    ::shutdown(client.number(), SHUT_WR);
  });
  CHECK(eventually([&] { return house.sheet().worker.pipes_leased.get() == 1; }));
  int code = -1;
  const std::string got = read_all(server, code);
  writer.join();
  CHECK(code == 0);
  CHECK((got == text));
}

TEST_CASE("a backend that refuses costs a client nothing while another answers") {
  Listening dead = listen_on_loopback();
  const Endpoint refuses = dead.address;
  dead.socket.reset();
  const Listening alive = listen_on_loopback();
  House house({refuses, alive.address});
  for (int i = 0; i < 4; ++i) {
    Fd client = connect_to(house.address());
    Fd server = accepted(alive);
    REQUIRE(write_all(server, "hello"));
    CHECK(read_some(client, 5) == "hello");
  }
  CHECK(house.sheet().backend(0).connect_failures[static_cast<std::size_t>(ConnectFailure::refused)].get() >= 1);
  CHECK(house.closed(Outcome::dial_refused) == 0);
}

TEST_CASE("when every backend refuses, the session ends by that name, with a reset") {
  Listening dead = listen_on_loopback();
  const Endpoint refuses = dead.address;
  dead.socket.reset();
  House house({refuses});
  Fd client = connect_to(house.address());
  int code = 0;
  read_all(client, code);
  CHECK(code == ECONNRESET);
  CHECK(house.ends_with(Outcome::dial_refused));
}

TEST_CASE("a backend that doesn't answer is given up at connect_timeout, and the next is tried") {
  // A full accept queue drops further SYNs: a black hole on loopback.
  const Listening hole = listen_on_loopback(0);
  std::vector<Fd> fill;
  for (int i = 0; i < 4; ++i) {
    Fd filler(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ::connect(filler.number(), hole.address.data(), hole.address.length());
    fill.push_back(std::move(filler));
  }
  const auto quick = [](PoolPlan& pool, ListenerPlan&) { pool.connect_timeout_ms = 100; };
  SECTION("another answers") {
    const Listening alive = listen_on_loopback();
    House house({hole.address, alive.address}, quick);
    Fd client = connect_to(house.address());
    Fd server = accepted(alive);
    REQUIRE(write_all(server, "hello"));
    CHECK(read_some(client, 5) == "hello");
    CHECK(house.sheet().backend(0).connect_failures[static_cast<std::size_t>(ConnectFailure::timeout)].get() == 1);
  }
  SECTION("none answers") {
    House house({hole.address}, quick);
    Fd client = connect_to(house.address());
    CHECK(house.ends_with(Outcome::dial_timeout));
  }
}

TEST_CASE("no backend at all ends a session by that name") {
  House house({});
  Fd client = connect_to(house.address());
  int code = 0;
  read_all(client, code);
  CHECK(house.ends_with(Outcome::no_backend));
}

TEST_CASE("a client that resets while its backend is dialled is gone") {
  const Listening hole = listen_on_loopback(0);
  std::vector<Fd> fill;
  for (int i = 0; i < 4; ++i) {
    Fd filler(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ::connect(filler.number(), hole.address.data(), hole.address.length());
    fill.push_back(std::move(filler));
  }
  House house({hole.address}, [](PoolPlan& pool, ListenerPlan&) { pool.connect_timeout_ms = 60000; });
  Fd client = connect_to(house.address());
  CHECK(eventually([&] { return house.shared().board[BackendId{0}].active.load() == 1; }));
  reset_on_close(client);
  client.reset();
  CHECK(house.ends_with(Outcome::client_gone));
}

TEST_CASE("silence ends a session at idle_timeout, and half of one at half_close_timeout") {
  const Listening backend = listen_on_loopback();
  SECTION("both directions open") {
    House house({backend.address}, [](PoolPlan& pool, ListenerPlan&) { pool.idle_timeout_ms = 50; });
    Fd client = connect_to(house.address());
    Fd server = accepted(backend);
    int code = 0;
    read_all(client, code);
    CHECK(code == ECONNRESET);
    CHECK(house.ends_with(Outcome::idle));
  }
  SECTION("one direction open") {
    House house({backend.address}, [](PoolPlan& pool, ListenerPlan&) { pool.half_close_timeout_ms = 50; });
    Fd client = connect_to(house.address());
    Fd server = accepted(backend);
    ::shutdown(client.number(), SHUT_WR);
    CHECK(house.ends_with(Outcome::idle));
  }
}

TEST_CASE("max_lifetime ends even a busy session") {
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan& pool, ListenerPlan&) { pool.lifetime_ms = 100; });
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  CHECK(eventually([&] {
    ::send(client.number(), "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    return house.closed(Outcome::lifetime) == 1;
  }));
}

TEST_CASE("one session more than the limit is shed, and the others go on") {
  const Listening backend = listen_on_loopback();
  House house({backend.address}, {}, 3);
  std::vector<Fd> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(connect_to(house.address()));
    clients.push_back(accepted(backend));
  }
  Fd late = connect_to(house.address());
  int code = 0;
  read_all(late, code);
  CHECK(code == ECONNRESET);
  CHECK(house.ends_with(Outcome::shed));
  REQUIRE(write_all(clients[1], "still here"));
  CHECK(read_some(clients[0], 10) == "still here");
}

TEST_CASE("a drain serves what waits in the queue, lets sessions end, and then the thread leaves") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  house.worker().drain(Clock::now() + 1h);
  REQUIRE(write_all(client, "during the drain"));
  CHECK(read_some(server, 16) == "during the drain");
  CHECK_FALSE(house.worker().finished());
  client.reset();
  server.reset();
  CHECK(eventually([&] { return house.worker().finished(); }));
  CHECK(house.closed(Outcome::drained) == 0);
}

TEST_CASE("a listener that leaves the snapshot takes nothing new, and its sessions go on") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  house.worker().publish(std::make_shared<Snapshot>());
  CHECK(eventually([&] {
    Fd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return ::connect(probe.number(), house.address().data(), house.address().length()) != 0 && errno == ECONNREFUSED;
  }));
  REQUIRE(write_all(client, "still"));
  CHECK(read_some(server, 5) == "still");
}

TEST_CASE("closing a backend ends its sessions and no others") {
  const Listening one = listen_on_loopback();
  const Listening two = listen_on_loopback();
  House house({one.address, two.address});
  Fd first = connect_to(house.address());
  Fd first_server = accepted(one);
  Fd second = connect_to(house.address());
  Fd second_server = accepted(two);
  house.worker().close_backend(BackendId{0});
  int code = 0;
  read_all(first, code);
  CHECK(code == ECONNRESET);
  CHECK(house.ends_with(Outcome::drained));
  REQUIRE(write_all(second, "on"));
  CHECK(read_some(second_server, 2) == "on");
}

TEST_CASE("who may come in is asked before anything else") {
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan&, ListenerPlan& listener) { listener.deny = {Cidr::parse("127.0.0.0/8").value()}; });
  Fd client = connect_to(house.address());
  int code = 0;
  read_all(client, code);
  CHECK(code == ECONNRESET);
  CHECK(house.ends_with(Outcome::denied));
}

TEST_CASE("a PROXY header is awaited, taken off, and passed on in the form that the backend wants") {
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan& pool, ListenerPlan& listener) {
    listener.accept_proxy = true;
    pool.send_proxy = SendProxy::v1;
  });
  Fd client = connect_to(house.address());
  REQUIRE(write_all(client, "PROXY TCP4 192.0.2.1 198.51.10"));
  REQUIRE(eventually([&] { return house.sheet().worker.completions.get() >= 3; }));
  REQUIRE(write_all(client, "0.2 4711 443\r\nhello"));
  Fd server = accepted(backend);
  CHECK(read_some(server, 49) == "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nhello");
}

TEST_CASE("behind proxies, allow and deny judge the client that the header names") {
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan&, ListenerPlan& listener) {
    listener.accept_proxy = true;
    listener.trusted_proxies = {Cidr::parse("127.0.0.1").value()};
    listener.deny = {Cidr::parse("192.0.2.0/24").value()};
  });
  Fd bad = connect_to(house.address());
  REQUIRE(write_all(bad, "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"));
  CHECK(house.ends_with(Outcome::denied));
  Fd good = connect_to(house.address());
  REQUIRE(write_all(good, "PROXY TCP4 203.0.113.1 198.51.100.2 4711 443\r\nhello"));
  Fd server = accepted(backend);
  CHECK(read_some(server, 5) == "hello");
}

TEST_CASE("a bad PROXY header ends the session by name, and no backend hears of it") {
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan&, ListenerPlan& listener) { listener.accept_proxy = true; });
  Fd client = connect_to(house.address());
  REQUIRE(write_all(client, "GET / HTTP/1.1\r\n\r\n"));
  CHECK(house.ends_with(Outcome::bad_proxy_header));
  pollfd wait{.fd = backend.socket.number(), .events = POLLIN, .revents = 0};
  CHECK(::poll(&wait, 1, 0) == 0);
}

TEST_CASE("inspect shows a session with its stage and bytes") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  REQUIRE(write_all(client, "12345"));
  CHECK(read_some(server, 5) == "12345");
  const std::vector<SessionRow> rows = house.worker().inspect(10, 5s);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].stage == Stage::relaying);
  CHECK(rows[0].backend == 0);
  CHECK(rows[0].bytes_in == 5);
  CHECK(rows[0].client.ip_text() == "127.0.0.1");
}

TEST_CASE("a thousand short connections leave nothing behind") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  std::thread server([&] {
    for (int i = 0; i < 1000; ++i) {
      Fd socket = accepted(backend);
      write_all(socket, read_some(socket, 4));
    }
  });
  int wrong = 0;
  for (int i = 0; i < 1000; ++i) {
    Fd client = connect_to(house.address());
    write_all(client, "ping");
    int code = -1;
    if (read_all(client, code) != "ping" || code != 0) ++wrong;
  }
  server.join();
  CHECK(wrong == 0);
  CHECK(house.ends_with(Outcome::served, 1000));
}
