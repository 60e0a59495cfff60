// What the steering tests share: a group of real loopback listeners, one a worker, and clients that knock on it.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"
#include "usher/steer/steering.h"

namespace usher {

/// Steering for `workers` or a skipped test: skipped only for what a machine may forbid, and red for anything else.
inline std::unique_ptr<Steering> steering_or_skip(std::uint32_t workers) {
  auto steering = make_steering(workers);
  if (steering->active()) return steering;
  const std::string reason = steering->describe();
  if (reason.find("Operation not permitted") != std::string::npos ||
      reason.find("built without") != std::string::npos ||
      reason.find("Function not implemented") != std::string::npos) {
    SKIP("eBPF steering can't be tested here: " << reason);
  }
  FAIL("eBPF steering doesn't load: " << reason);
  return steering;
}

inline Endpoint loopback(int family) {
  if (family == AF_INET) return Endpoint::ipv4(INADDR_LOOPBACK, 0);
  const auto& bytes = in6addr_loopback.s6_addr;
  return Endpoint::ipv6(std::span<const std::uint8_t, 16>(bytes, 16), 0);
}

/// Listening sockets, all on one loopback address and port, with room for every connection of a test in each queue.
class Listeners {
 public:
  Listeners(int family, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      Fd socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      if (!socket) must(-1, "socket");
      const int on = 1;
      must(::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), "SO_REUSEPORT");
      const Endpoint wanted = i == 0 ? loopback(family) : address_;
      if (::bind(socket.number(), wanted.data(), wanted.length()) != 0) {
        if (errno == EADDRNOTAVAIL && family == AF_INET6) SKIP("this machine has no ::1");
        must(-1, "bind");
      }
      must(::listen(socket.number(), 4096), "listen");
      sockaddr_storage bound{};
      socklen_t length = sizeof bound;
      must(::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&bound), &length), "getsockname");
      address_ = Endpoint::from(reinterpret_cast<sockaddr*>(&bound), length);
      sockets_.push_back(std::move(socket));
    }
  }

  std::vector<const Fd*> all() const {
    std::vector<const Fd*> sockets;
    for (const Fd& socket : sockets_) sockets.push_back(&socket);
    return sockets;
  }
  void close(std::size_t worker) { sockets_[worker].reset(); }

  /// A client that connects, and leaves at once unless kept: what it was is in a queue either way.
  Fd connect() const {
    Fd client(::socket(address_.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!client) must(-1, "client socket");
    must(::connect(client.number(), address_.data(), address_.length()), "connect");
    return client;
  }
  void connect_many(int count) const {
    for (int i = 0; i < count; ++i) (void)connect();
  }

  /// Accepts until `expected` connections have come in all (or five seconds have gone by); answers how many each worker
  /// got.
  std::vector<int> accept_all(int expected) {
    std::vector<int> accepted(sockets_.size(), 0);
    const TimePoint deadline = Clock::now() + std::chrono::seconds(5);
    while (std::accumulate(accepted.begin(), accepted.end(), 0) < expected && Clock::now() < deadline) {
      bool idle = true;
      for (std::size_t i = 0; i < sockets_.size(); ++i) {
        if (!sockets_[i]) continue;
        if (const Fd taken(::accept(sockets_[i].number(), nullptr, nullptr)); taken) ++accepted[i], idle = false;
      }
      if (idle) std::this_thread::yield();
    }
    return accepted;
  }

 private:
  static void must(int answer, const char* what) {
    if (answer < 0) throw std::runtime_error(system_error(what).message);
  }

  Endpoint address_;
  std::vector<Fd> sockets_;
};

inline int sum(const std::vector<int>& counts) { return std::accumulate(counts.begin(), counts.end(), 0); }

}  // namespace usher
