// A worker relays: bytes, ends and resets, over real sockets.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "house.h"

using namespace usher;
using namespace std::chrono_literals;

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
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(pipes, mover);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, {}, 64, pipes, mover);
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
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, {}, 64, 16, mover);
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
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, {}, 64, 16, mover);
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

TEST_CASE("a FIN after a long quiet leaves the other side its half_close_timeout") {
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan& pool, ListenerPlan&) { pool.half_close_timeout_ms = 1000; });
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  REQUIRE(write_all(client, "x"));
  CHECK(read_some(server, 1) == "x");
  // Quiet for longer than half_close_timeout: the wheel's own time passes, nothing else shows it.
  const TimePoint quiet_until = Clock::now() + 1200ms;
  CHECK(eventually([&] { return Clock::now() >= quiet_until; }));
  ::shutdown(client.number(), SHUT_WR);
  int code = -1;
  CHECK(read_all(server, code).empty());
  CHECK(code == 0);
  const TimePoint answer_at = Clock::now() + 100ms;
  CHECK(eventually([&] { return Clock::now() >= answer_at; }));
  REQUIRE(write_all(server, "late answer"));
  server.reset();
  CHECK(read_all(client, code) == "late answer");
  CHECK(code == 0);
  CHECK(house.ends_with(Outcome::served));
}

TEST_CASE("a FIN behind bulk leaves the other side its half_close_timeout and no longer, whoever splices") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan& pool, ListenerPlan&) { pool.half_close_timeout_ms = 100; }, 64, 16, mover);
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  const std::string text = pattern(4'000'000);
  std::thread writer([&] {
    write_all(client, text);
    ::shutdown(client.number(), SHUT_WR);
  });
  int code = -1;
  CHECK((read_all(server, code) == text));
  CHECK(code == 0);
  writer.join();
  CHECK(house.ends_with(Outcome::idle));  // the server has nothing to say
}

TEST_CASE("bytes behind an urgent one arrive, with a FIN behind them and without") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, {}, 64, 16, mover);
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  REQUIRE(write_all(client, "abc"));
  REQUIRE(::send(client.number(), "!", 1, MSG_OOB) == 1);
  REQUIRE(write_all(client, "def"));
  CHECK(read_some(server, 6) == "abcdef");
  REQUIRE(::send(client.number(), "!", 1, MSG_OOB) == 1);
  REQUIRE(write_all(client, "ghi"));
  ::shutdown(client.number(), SHUT_WR);
  int code = -1;
  CHECK(read_all(server, code) == "ghi");
  CHECK(code == 0);
}

TEST_CASE("the end of a torrent arrives at once, though it is smaller than what the kernel wakes for, and so does what follows") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, {}, 64, 16, mover);
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  for (int round = 0; round < 3; ++round) {
    const std::string torrent = pattern((48U << 20) + 12'345);
    std::thread writer([&] { write_all(client, torrent); });
    const std::string got = read_some(server, torrent.size());
    writer.join();
    CHECK((got == torrent));
    // No FIN came and none will: then small talk.
    for (int turn = 0; turn < 20; ++turn) {
      REQUIRE(write_all(client, "question"));
      CHECK(read_some(server, 8) == "question");
      REQUIRE(write_all(server, "answer"));
      CHECK(read_some(client, 6) == "answer");
    }
  }
}

TEST_CASE("a torrent that meets a reader who stops and goes on again arrives whole") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, {}, 64, 16, mover);
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  const std::string torrent = pattern(64U << 20);
  std::thread writer([&] {
    write_all(client, torrent);
    ::shutdown(client.number(), SHUT_WR);
  });
  std::string got = read_some(server, 30U << 20);
  CHECK(eventually([&] { return house.sheet().worker.pipes_leased.get() == 1; }));
  int code = -1;
  got += read_all(server, code);
  writer.join();
  CHECK(code == 0);
  CHECK((got == torrent));
}

TEST_CASE("a client's reset is noticed while its backend doesn't read") {
  const Mover mover = GENERATE(Mover::worker, Mover::ring);
  CAPTURE(mover);
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan& pool, ListenerPlan&) { pool.half_close_timeout_ms = 100; }, 64, 16, mover);
  Fd client = connect_to(house.address());
  Fd server = accepted(backend);
  ::fcntl(client.number(), F_SETFL, O_NONBLOCK);
  const std::string block = pattern(1 << 16);
  CHECK(eventually([&] {
    // Full for a while, not for the moment that the ring takes between a fill and its drain: then all would still be delivered.
    if (::send(client.number(), block.data(), block.size(), MSG_NOSIGNAL) >= 0) return false;
    pollfd room{.fd = client.number(), .events = POLLOUT, .revents = 0};
    return ::poll(&room, 1, 50) == 0 && house.sheet().worker.pipes_leased.get() == 1;
  }));
  reset_on_close(client);
  client.reset();
  CHECK(house.ends_with(Outcome::idle));  // what had arrived waits for the backend, for half_close_timeout and no longer
}
