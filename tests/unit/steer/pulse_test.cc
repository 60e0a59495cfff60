// The pulse on this kernel: real connections over loopback, dialled by a thread that counts and by one that doesn't.
#include "usher/steer/pulse.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <set>
#include <string>
#include <vector>

#include "listeners.h"
#include "steer/cgroup_folder.h"

namespace usher {
namespace {

constexpr std::uint32_t number = 7;

/// The pulse, counting what this thread dials; skipped only for what a machine may forbid, and red for anything else.
std::unique_ptr<Pulse> pulse_or_skip() {
  auto pulse = make_pulse();
  const std::string reason = pulse->describe();
  if (!pulse->active()) {
    for (const char* const excuse : {"Operation not permitted", "built without", "Function not implemented", "cgroup v2", "Linux 6.10"}) {
      if (reason.find(excuse) != std::string::npos) SKIP("the pulse can't be tested here: " << reason);
    }
    FAIL("the pulse doesn't load: " << reason);
  }
  return pulse;
}

void count_this_thread(Pulse& pulse, const Endpoint& backend) {
  const std::array threads{static_cast<std::uint32_t>(::gettid())};
  const std::array backends{PulseBackend{backend, number}};
  REQUIRE(pulse.set_workers(threads));
  REQUIRE(pulse.set_backends(backends));
}

/// A listening socket of this test on loopback, that isn't in a group.
struct Server {
  explicit Server(int family) : socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const Endpoint wanted = loopback(family);
    if (::bind(socket.number(), wanted.data(), wanted.length()) != 0) {
      if (errno == EADDRNOTAVAIL && family == AF_INET6) SKIP("this machine has no ::1");
      FAIL("bind: " << errno);
    }
    REQUIRE(::listen(socket.number(), 64) == 0);
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    REQUIRE(::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&bound), &length) == 0);
    const auto port = family == AF_INET ? reinterpret_cast<sockaddr_in&>(bound).sin_port : reinterpret_cast<sockaddr_in6&>(bound).sin6_port;
    address = wanted.with_port(ntohs(port));
  }
  Fd socket;
  Endpoint address;
};

Fd dial(const Endpoint& to, int expected = 0) {
  Fd socket(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int answer = ::connect(socket.number(), to.data(), to.length());
  CHECK((answer == 0 ? 0 : errno) == expected);
  return socket;
}

std::size_t send_all(const Fd& socket, std::size_t bytes) {
  const std::vector<char> zeros(bytes);
  const ssize_t sent = ::send(socket.number(), zeros.data(), bytes, 0);
  return sent < 0 ? 0 : static_cast<std::size_t>(sent);
}

void read_to_the_end(const Fd& socket) {
  std::array<char, 65536> sink{};
  while (::recv(socket.number(), sink.data(), sink.size(), 0) > 0) {
  }
}

std::uint64_t timed(const PathCounts& counts) {
  std::uint64_t sum = 0;
  for (const std::uint64_t bucket : counts.rtt) sum += bucket;
  return sum;
}

TEST_CASE("this kernel takes the pulse, and takes it again beside the first") {
  const auto one = pulse_or_skip();
  const auto other = pulse_or_skip();
  CHECK(one->describe() == "ebpf");
  CHECK(one->counts(number).tried == 0);
  CHECK(one->counts(PATH_BACKENDS_MAX).tried == 0);
}

TEST_CASE("a served connection: its bytes are the stream's own, each way, without its FIN") {
  const int family = GENERATE(AF_INET, AF_INET6);
  const bool we_end_first = GENERATE(true, false);
  CAPTURE(family, we_end_first);
  const auto pulse = pulse_or_skip();
  const Server server(family);
  count_this_thread(*pulse, server.address);
  {
    const Fd client = dial(server.address);
    Fd served(::accept(server.socket.number(), nullptr, nullptr));
    CHECK(pulse->counts(number).established == 1);
    CHECK(send_all(client, 12345) == 12345);
    CHECK(send_all(served, 777) == 777);
    if (we_end_first) ::shutdown(client.number(), SHUT_WR);
    else ::shutdown(served.number(), SHUT_WR);
    read_to_the_end(we_end_first ? served : client);
    ::shutdown((we_end_first ? served : client).number(), SHUT_WR);
    read_to_the_end(we_end_first ? client : served);
  }
  const PathCounts counts = pulse->counts(number);
  CHECK(counts.tried == 1);
  CHECK(counts.established == 1);
  CHECK(timed(counts) == 1);
  CHECK(counts.refused == 0);
  CHECK(counts.resets == 0);
  CHECK(counts.retransmits == 0);
  CHECK(counts.bytes_in == 12345);
  CHECK(counts.bytes_out == 777);
  CHECK(counts.packets_in >= 4);
  CHECK(counts.packets_out >= 3);
}

TEST_CASE("a refused connection is tried and refused, and nothing else") {
  const int family = GENERATE(AF_INET, AF_INET6);
  const auto pulse = pulse_or_skip();
  Endpoint nobody;
  {
    const Server server(family);
    nobody = server.address;
  }
  count_this_thread(*pulse, nobody);
  dial(nobody, ECONNREFUSED);
  const PathCounts counts = pulse->counts(number);
  CHECK(counts.tried == 1);
  CHECK(counts.refused == 1);
  CHECK(counts.established == 0);
  CHECK(counts.resets == 0);
  CHECK(timed(counts) == 0);
}

TEST_CASE("a reset counts once, whoever sends it") {
  const bool ours = GENERATE(true, false);
  CAPTURE(ours);
  const auto pulse = pulse_or_skip();
  const Server server(AF_INET);
  count_this_thread(*pulse, server.address);
  Fd client = dial(server.address);
  Fd served(::accept(server.socket.number(), nullptr, nullptr));
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  Fd& breaker = ours ? client : served;
  REQUIRE(::setsockopt(breaker.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  breaker = Fd();
  client = Fd();
  CHECK(pulse->counts(number).resets == 1);
  CHECK(pulse->counts(number).refused == 0);
}

TEST_CASE("what another thread dials, and what goes elsewhere, doesn't count") {
  const auto pulse = pulse_or_skip();
  const Server server(AF_INET);
  const Server elsewhere(AF_INET);
  count_this_thread(*pulse, server.address);
  dial(elsewhere.address);
  std::thread([&] { dial(server.address); }).join();
  CHECK(pulse->counts(number).tried == 0);
  REQUIRE(pulse->set_workers({}));
  dial(server.address);
  CHECK(pulse->counts(number).tried == 0);
}

TEST_CASE("a backend that leaves counts no more; one that shares an address with another counts for the first") {
  const auto pulse = pulse_or_skip();
  const Server server(AF_INET);
  count_this_thread(*pulse, server.address);
  dial(server.address);
  REQUIRE(pulse->set_backends({}));
  dial(server.address);
  CHECK(pulse->counts(number).tried == 1);
  const std::array shared{PulseBackend{server.address, number + 1}, PulseBackend{server.address, number}};
  REQUIRE(pulse->set_backends(shared));
  dial(server.address);
  CHECK(pulse->counts(number).tried == 1);
  CHECK(pulse->counts(number + 1).tried == 1);
}

TEST_CASE("the null pulse counts nothing and says why") {
  const auto pulse = make_null_pulse("no reason at all");
  CHECK(pulse->describe() == "not counted: no reason at all");
  CHECK(!pulse->active());
  CHECK(pulse->set_workers({}));
  CHECK(pulse->set_backends({}));
  CHECK(pulse->counts(0).tried == 0);
}

TEST_CASE("the cgroup's folder follows from what /proc says") {
  const std::string unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
  const std::string hybrid =
      "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "40 24 0:30 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 cgroup2 rw\n";
  CHECK(cgroup_folder("0::/system.slice/usher.service\n", unified) == "/sys/fs/cgroup/system.slice/usher.service");
  CHECK(cgroup_folder("4:memory:/x\n0::/\n", hybrid) == "/sys/fs/cgroup/unified");
  CHECK(cgroup_folder("0::/a/b\n", "1 2 0:26 /a /sub\\040group rw - cgroup2 cgroup2 rw\n") == "/sub group/b");
  CHECK(cgroup_folder("0::/a\n", "1 2 0:26 /a /sub rw - cgroup2 cgroup2 rw\n") == "/sub");
  const auto refusal = [](std::string_view cgroup, std::string_view mounts) { return cgroup_folder(cgroup, mounts).error().message; };
  CHECK(refusal("4:memory:/x\n", unified) == "this kernel has no cgroup v2");
  CHECK(refusal("0::/\n", "").starts_with("no cgroup v2 is mounted"));
  CHECK(refusal("0::/ab\n", "1 2 0:26 /a /sub rw - cgroup2 cgroup2 rw\n").starts_with("its cgroup, /ab, is in none"));
  CHECK(refusal("0::/../other\n", unified).starts_with("its cgroup, /../other, is outside"));
}

TEST_CASE("every verdict has a word of its own") {
  std::set<std::string_view> words;
  for (int verdict = 0; verdict < PATH_VERDICTS; ++verdict) words.insert(name(static_cast<PathVerdict>(verdict)));
  CHECK(words.size() == PATH_VERDICTS);
  CHECK(!words.contains("unnamed"));
}

}  // namespace
}  // namespace usher
