// House: a worker with one listener on loopback and a pool of given addresses; its end checks the laws.
#pragma once

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

#include "usher/metrics/counters.h"
#include "usher/worker/worker.h"

namespace usher {

using namespace std::chrono_literals;

constexpr int patience_ms = 10000;

struct Listening {
  Fd socket;
  Endpoint address;
};

inline Listening listen_on_loopback(int backlog = 128) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  REQUIRE(::bind(socket.number(), any.data(), any.length()) == 0);
  REQUIRE(::listen(socket.number(), backlog) == 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  REQUIRE(::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return {std::move(socket), Endpoint::from(reinterpret_cast<sockaddr*>(&address), length)};
}

/// A connection that is turned away may be reset before connect(2) has returned.
inline Fd connect_to(const Endpoint& address) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int code = ::connect(socket.number(), address.data(), address.length()) == 0 ? 0 : errno;
  REQUIRE((code == 0 || code == ECONNRESET));
  return socket;
}

inline void reset_on_close(const Fd& socket) {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket.number(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

inline bool readable(const Fd& socket) {
  pollfd wait{.fd = socket.number(), .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, patience_ms) == 1;
}

/// Everything up to the end; `code` is 0 for a FIN, or the errno that ended it.
inline std::string read_all(const Fd& socket, int& code) {
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

inline std::string read_some(const Fd& socket, std::size_t bytes) {
  std::string all;
  char buffer[65536];
  while (all.size() < bytes && readable(socket)) {
    const ssize_t got = ::recv(socket.number(), buffer, std::min(sizeof buffer, bytes - all.size()), 0);
    if (got <= 0) break;
    all.append(buffer, static_cast<std::size_t>(got));
  }
  return all;
}

inline bool write_all(const Fd& socket, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::send(socket.number(), text.data(), text.size(), MSG_NOSIGNAL);
    if (put <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

inline bool eventually(const std::function<bool()>& holds) {
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
                 std::uint32_t sessions_max = 64, std::uint16_t pipes_max = 16, Mover mover = Mover::worker) {
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
    worker_options.mover = mover;
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
  bool ends_with(Outcome outcome, std::uint64_t count = 1) { return eventually([&] { return closed(outcome) == count; }); }
  Sheet& sheet() { return sheet_; }

 private:
  Shared shared_;
  Sheet sheet_;
  Endpoint address_;
  std::unique_ptr<Worker> worker_;
};

/// One connection of the worker, or none. Asserts nothing, so a test's thread may call it: Catch2's macros are for one thread at a time.
inline Fd try_accept(const Listening& backend) {
  return readable(backend.socket) ? Fd(::accept(backend.socket.number(), nullptr, nullptr)) : Fd();
}

/// Accepts one connection of the worker.
inline Fd accepted(const Listening& backend) {
  Fd socket = try_accept(backend);
  REQUIRE(socket.open());
  return socket;
}

inline std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 31 + (i >> 8) * 7);
  return text;
}

}  // namespace usher
