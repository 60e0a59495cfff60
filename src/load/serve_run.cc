// ServeRun: the listening sockets and the threads behind them.
#include "usher/load/serve_run.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/socket.h>

#include <future>
#include <mutex>
#include <thread>

#include "load/backend.h"

namespace usher::load {
namespace {

constexpr int backlog = 4096;

Result<Fd> listen_on(const Endpoint& address) {
  const auto refused = [&] { return fail_system(fmt::format("can't listen on {}", address.text())); };
  Fd socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.open()) return refused();
  const int on = 1;
  ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (::bind(socket.number(), address.data(), address.length()) != 0) return refused();
  if (::listen(socket.number(), backlog) != 0) return refused();
  return socket;
}

Endpoint bound_to(const Fd& socket) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  ::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&storage), &length);
  return Endpoint::from(reinterpret_cast<const sockaddr*>(&storage), length);
}

class ThreadedServe final : public ServeRun {
 public:
  explicit ThreadedServe(ServePlan plan) : plan_(std::move(plan)) {}

  Result<void> launch() {
    std::vector<std::vector<Fd>> listeners(plan_.threads);
    for (const Endpoint& wanted : plan_.listen) {
      Endpoint address = wanted;
      for (unsigned i = 0; i < plan_.threads; ++i) {
        auto socket = listen_on(address);
        if (!socket) return std::unexpected(socket.error());
        address = bound_to(*socket);  // the others listen where the first one does, if the kernel chose its port
        listeners[i].push_back(std::move(*socket));
      }
      addresses_.push_back(address);
    }
    std::vector<std::future<Result<void>>> opened;
    for (unsigned i = 0; i < plan_.threads; ++i) {
      seats_.push_back(std::make_unique<Seat>());
      Seat& seat = *seats_.back();
      opened.push_back(seat.opened.get_future());
      seat.thread = std::thread(
          [this, &seat, sockets = std::move(listeners[i])]() mutable { serve_seat(seat, std::move(sockets)); });
      ::pthread_setname_np(seat.thread.native_handle(), fmt::format("serve-{}", i).c_str());
    }
    for (auto& one : opened) {
      if (auto status = one.get(); !status) return status;
    }
    return {};
  }

  ~ThreadedServe() override { stop(); }

  void stop() override {
    for (const auto& seat : seats_) seat->window.stop.store(true, std::memory_order_relaxed);
    for (const auto& seat : seats_) {
      if (seat->thread.joinable()) seat->thread.join();
    }
  }

  const std::vector<Endpoint>& addresses() const override { return addresses_; }

  ServeCounts counts() const override {
    ServeCounts sum;
    for (const auto& seat : seats_) {
      const BackendWindow& window = seat->window;
      sum.accepted += window.accepted.load(std::memory_order_relaxed);
      sum.open += window.open.load(std::memory_order_relaxed);
      sum.requests += window.requests.load(std::memory_order_relaxed);
      sum.bytes_sent += window.bytes_sent.load(std::memory_order_relaxed);
      sum.bytes_received += window.bytes_received.load(std::memory_order_relaxed);
      sum.refused += window.refused.load(std::memory_order_relaxed);
      sum.shed += window.shed.load(std::memory_order_relaxed);
    }
    return sum;
  }

  Result<void> health() const override {
    for (const auto& seat : seats_) {
      const std::scoped_lock lock(seat->lock);
      if (!seat->outcome) return seat->outcome;
    }
    return {};
  }

 private:
  struct Seat {
    BackendWindow window;
    std::promise<Result<void>> opened;
    mutable std::mutex lock;
    Result<void> outcome;  ///< under lock
    std::thread thread;
  };

  void serve_seat(Seat& seat, std::vector<Fd> listeners) const {
    try {
      TestBackend backend(plan_, std::move(listeners), seat.window);
      const Result<void> opened = backend.open();
      seat.opened.set_value(opened);
      if (!opened) return;
      Result<void> outcome = backend.run();
      const std::scoped_lock lock(seat.lock);
      seat.outcome = std::move(outcome);
    } catch (const std::bad_alloc&) {
      // Only the tables are allocated, before `opened` is told.
      seat.opened.set_value(fail(fmt::format("no memory for {} connections", plan_.connections_max)));
    }
  }

  const ServePlan plan_;
  std::vector<Endpoint> addresses_;
  std::vector<std::unique_ptr<Seat>> seats_;
};

}  // namespace

Result<std::unique_ptr<ServeRun>> ServeRun::start(ServePlan plan) {
  auto run = std::make_unique<ThreadedServe>(std::move(plan));
  if (auto launched = run->launch(); !launched) return std::unexpected(launched.error());
  return run;
}

}  // namespace usher::load
