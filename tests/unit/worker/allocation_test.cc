// A worker in steady state allocates nothing: what its thread asks operator new for, session after session, is counted.
//
// This file replaces the global operator new of the whole program; a sanitizer, which has its own, is asked for each
// allocation instead. Every thread that isn't the tests' own is watched; while a House stands, that is its worker and nobody else.
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "house.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define USHER_TEST_SANITIZED 1
#include <sanitizer/allocator_interface.h>
#endif
#endif

using namespace usher;
using namespace std::chrono_literals;

namespace {

std::atomic<std::uint64_t> watched_allocations{0};
thread_local bool thread_of_the_tests = false;

void note_allocation() noexcept {
  if (!thread_of_the_tests) watched_allocations.fetch_add(1, std::memory_order_relaxed);
}

#ifdef USHER_TEST_SANITIZED

// malloc(3) and its like are seen too, those of C libraries included.
const int hooked = __sanitizer_install_malloc_and_free_hooks([](const volatile void*, std::size_t) { note_allocation(); },
                                                             [](const volatile void*) {});

}  // namespace

#else

void* allocate(std::size_t bytes, std::size_t alignment) {
  note_allocation();
  if (bytes == 0) bytes = 1;
  void* const memory = alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__
                           ? std::malloc(bytes)
                           : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The array and nothrow forms of the standard library end here.
void* operator new(std::size_t bytes) { return allocate(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return allocate(bytes, static_cast<std::size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

#endif

namespace {

/// Before it, sessions may still touch what is made once: pipes, and the growth of nothing else.
constexpr int warm_up_sessions = 20;
constexpr int counted_sessions = 200;

/// Runs `session` until everything is warm, then counts what the worker's thread allocates during further ones.
template <typename OneSession>
std::uint64_t allocations_of(OneSession&& session) {
  thread_of_the_tests = true;
  for (int i = 0; i < warm_up_sessions; ++i) session();
  const std::uint64_t before = watched_allocations.load();
  for (int i = 0; i < counted_sessions; ++i) session();
  return watched_allocations.load() - before;
}

/// `up` to the server, `down` to the client, a FIN each way.
void relay_once(const Fd& client, const Fd& server, std::string_view up, std::string_view down) {
  REQUIRE(write_all(client, up));
  REQUIRE(read_some(server, up.size()).size() == up.size());
  REQUIRE(write_all(server, down));
  REQUIRE(read_some(client, down.size()).size() == down.size());
  int code = -1;
  ::shutdown(client.number(), SHUT_WR);
  read_all(server, code);
  REQUIRE(code == 0);
  ::shutdown(server.number(), SHUT_WR);
  read_all(client, code);
  REQUIRE(code == 0);
}

/// Every session that was begun has ended by `outcome`, so nothing of it is left to be allocated.
void until_ended(House& house, Outcome outcome, std::uint64_t& ended) { REQUIRE(house.ends_with(outcome, ++ended)); }

/// An address on loopback where nobody listens; its port stays taken as long as the socket lives.
Listening nobody_listens() {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(socket.number(), any.data(), any.length()) == 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  REQUIRE(::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return {std::move(socket), Endpoint::from(reinterpret_cast<sockaddr*>(&address), length)};
}

}  // namespace

TEST_CASE("an allocation of the worker's thread is seen, one of the test's thread isn't") {
  thread_of_the_tests = true;
  const Listening backend = listen_on_loopback();
  std::uint64_t before = watched_allocations.load();
  House house({backend.address});
  // Its slab, its ready lists, its doors: a start does allocate.
  CHECK(eventually([&] { return watched_allocations.load() > before; }));
  // Idle from here on.
  CHECK(house.worker().inspect(1, 10s).empty());
  before = watched_allocations.load();
  const std::string own(100'000, 'x');
  CHECK(own.size() == 100'000);
  CHECK(watched_allocations.load() == before);
}

TEST_CASE("admitting, relaying and ending a session allocates nothing, with pipes or without") {
  for (const std::uint16_t pipes : {std::uint16_t{16}, std::uint16_t{0}}) {
    CAPTURE(pipes);
    const Listening backend = listen_on_loopback();
    House house({backend.address}, {}, 64, pipes);
    const std::string up = pattern(300);
    const std::string down = pattern(200'000);
    std::uint64_t ended = 0;
    CHECK(allocations_of([&] {
            Fd client = connect_to(house.address());
            const Fd server = accepted(backend);
            relay_once(client, server, up, down);
            until_ended(house, Outcome::served, ended);
          }) == 0);
  }
}

TEST_CASE("many sessions at once allocate nothing") {
  const Listening backend = listen_on_loopback();
  House house({backend.address});
  std::uint64_t ended = 0;
  std::array<Fd, 10> clients;
  std::array<Fd, 10> servers;
  CHECK(allocations_of([&] {
          for (std::size_t i = 0; i < clients.size(); ++i) {
            clients[i] = connect_to(house.address());
            servers[i] = accepted(backend);
          }
          for (std::size_t i = 0; i < clients.size(); ++i) relay_once(clients[i], servers[i], "question", "answer");
          ended += clients.size();
          REQUIRE(house.ends_with(Outcome::served, ended));
        }) == 0);
}

TEST_CASE("a PROXY header on each side and a deadline on each session allocate nothing") {
  const Listening backend = listen_on_loopback();
  House house({backend.address}, [](PoolPlan& pool, ListenerPlan& listener) {
    listener.accept_proxy = true;
    pool.send_proxy = SendProxy::v2;
    pool.lifetime_ms = 60'000;
  });
  constexpr std::string_view header = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n";
  constexpr std::size_t header_v2_ipv4_bytes = 28;
  std::uint64_t ended = 0;
  CHECK(allocations_of([&] {
          Fd client = connect_to(house.address());
          REQUIRE(write_all(client, header));
          const Fd server = accepted(backend);
          REQUIRE(read_some(server, header_v2_ipv4_bytes).size() == header_v2_ipv4_bytes);
          relay_once(client, server, "question", "answer");
          until_ended(house, Outcome::served, ended);
        }) == 0);
}

TEST_CASE("sessions that end badly allocate nothing: a reset, a refused backend, one that may not in") {
  SECTION("the client resets") {
    const Listening backend = listen_on_loopback();
    House house({backend.address});
    std::uint64_t ended = 0;
    CHECK(allocations_of([&] {
            Fd client = connect_to(house.address());
            const Fd server = accepted(backend);
            REQUIRE(write_all(client, "x"));
            REQUIRE(read_some(server, 1).size() == 1);
            reset_on_close(client);
            client.reset();
            until_ended(house, Outcome::client_gone, ended);
          }) == 0);
  }
  SECTION("every candidate refuses") {
    const Listening first = nobody_listens();
    const Listening second = nobody_listens();
    House house({first.address, second.address});
    std::uint64_t ended = 0;
    CHECK(allocations_of([&] {
            const Fd client = connect_to(house.address());
            until_ended(house, Outcome::dial_refused, ended);
          }) == 0);
  }
  SECTION("deny names the client") {
    const Listening backend = listen_on_loopback();
    House house({backend.address},
                [](PoolPlan&, ListenerPlan& listener) { listener.deny.push_back(Cidr::parse("127.0.0.0/8").value()); });
    std::uint64_t ended = 0;
    CHECK(allocations_of([&] {
            const Fd client = connect_to(house.address());
            until_ended(house, Outcome::denied, ended);
          }) == 0);
  }
}
