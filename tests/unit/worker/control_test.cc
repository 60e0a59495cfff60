// A worker is told: drain, leave a listener, close a backend, show your sessions.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "house.h"

using namespace usher;
using namespace std::chrono_literals;

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

TEST_CASE("a worker that never had anything to do leaves when it is told to") {
  Shared shared;
  shared.sessions_max = 4;
  Sheet sheet;
  auto worker = Worker::start(WorkerOptions{}, shared, sheet);
  REQUIRE(worker.has_value());
  CHECK(eventually([&] { return sheet.worker.operations_in_flight.get() <= 1; }));
  (*worker)->drain(TimePoint{});
  CHECK(eventually([&] { return (*worker)->finished(); }));
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
      const Fd socket = try_accept(backend);
      if (!socket.open()) return;
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
