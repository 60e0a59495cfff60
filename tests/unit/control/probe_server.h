// ProbeServer: a loopback HTTP server for the prober's tests, whose manners can be changed while it serves.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "usher/base/endpoint.h"
#include "usher/base/fd.h"

namespace usher {

/// A port of 127.0.0.1 that stays ours for the life of this object. It refuses connections until somebody listens.
class ReservedPort {
 public:
  ReservedPort() : holder_(bound(Endpoint::ipv4(INADDR_LOOPBACK, 0))) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (::getsockname(holder_.number(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      throw std::runtime_error("getsockname");
    }
    address_ = Endpoint::from(reinterpret_cast<const sockaddr*>(&address), length);
  }

  [[nodiscard]] const Endpoint& address() const noexcept { return address_; }

  /// Closing the answer makes the port refuse again.
  [[nodiscard]] Fd listen(int backlog) const {
    Fd listener = bound(address_);
    if (::listen(listener.number(), backlog) != 0) throw std::runtime_error("listen");
    return listener;
  }

 private:
  static Fd bound(const Endpoint& address) {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;  // lets the listener share the port with the holder, which never listens
    ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (::bind(socket.number(), address.data(), address.length()) != 0) throw std::runtime_error("bind");
    return socket;
  }

  Fd holder_;
  Endpoint address_;
};

/// What a ProbeServer does when it has read a request.
struct Manners {
  std::string answer;
  bool by_bytes = false;  ///< a packet for each byte
  bool holds = false;     ///< stays connected afterwards, in silence
};

/// One thread; stops in its destructor. Thread safe.
class ProbeServer {
 public:
  explicit ProbeServer(Manners manners)
      : manners_(std::move(manners)), listener_(port_.listen(512)), stop_(::eventfd(0, EFD_CLOEXEC)) {
    thread_ = std::thread([this] { serve(); });
  }
  ~ProbeServer() {
    const std::uint64_t one = 1;
    (void)!::write(stop_.number(), &one, sizeof one);
    thread_.join();
  }
  ProbeServer(const ProbeServer&) = delete;
  ProbeServer& operator=(const ProbeServer&) = delete;

  [[nodiscard]] const Endpoint& address() const noexcept { return port_.address(); }
  void behave(Manners manners) {
    const std::lock_guard lock(mutex_);
    manners_ = std::move(manners);
  }
  [[nodiscard]] std::size_t holding() {
    const std::lock_guard lock(mutex_);
    return holding_;
  }
  [[nodiscard]] std::string last_request() {
    const std::lock_guard lock(mutex_);
    return last_request_;
  }

 private:
  struct Guest {
    Fd socket;
    std::string request;
    bool answered = false;
  };

  void serve() {
    std::vector<Guest> guests;
    for (;;) {
      std::vector<pollfd> polled = {{stop_.number(), POLLIN, 0}, {listener_.number(), POLLIN, 0}};
      for (const Guest& guest : guests) polled.push_back({guest.socket.number(), POLLIN, 0});
      if (::poll(polled.data(), polled.size(), -1) < 0) continue;
      if (polled[0].revents != 0) return;
      for (std::size_t i = guests.size(); i-- > 0;) {
        if (polled[i + 2].revents == 0 || listen_to(guests[i])) continue;
        guests.erase(guests.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if (polled[1].revents != 0) {
        if (Fd socket(::accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC)); socket) {
          guests.push_back({std::move(socket), {}, false});
        }
      }
    }
  }

  /// False when the connection is over.
  bool listen_to(Guest& guest) {
    char buffer[4096];
    const ssize_t count = ::recv(guest.socket.number(), buffer, sizeof buffer, 0);
    if (count <= 0) {
      const std::lock_guard lock(mutex_);
      holding_ -= guest.answered ? 1 : 0;
      return false;
    }
    guest.request.append(buffer, static_cast<std::size_t>(count));
    if (!guest.request.ends_with("\r\n\r\n")) return true;
    Manners manners;
    {
      const std::lock_guard lock(mutex_);
      last_request_ = guest.request;
      manners = manners_;
    }
    const int on = 1;
    ::setsockopt(guest.socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const std::size_t step = manners.by_bytes ? 1 : manners.answer.size();
    for (std::size_t sent = 0; sent < manners.answer.size(); sent += step) {
      if (::send(guest.socket.number(), manners.answer.data() + sent, step, MSG_NOSIGNAL) < 0) return false;
    }
    if (!manners.holds) return false;
    guest.answered = true;
    const std::lock_guard lock(mutex_);
    ++holding_;
    return true;
  }

  ReservedPort port_;
  std::mutex mutex_;
  Manners manners_;
  std::string last_request_;
  std::size_t holding_ = 0;
  Fd listener_;
  Fd stop_;
  std::thread thread_;
};

}  // namespace usher
