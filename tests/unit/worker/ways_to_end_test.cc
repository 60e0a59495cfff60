// A worker dials, gives up, expires, sheds and denies: each end has its name.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "house.h"

using namespace usher;
using namespace std::chrono_literals;

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
