// Door: a listening socket on loopback, and connections that wait in its queue.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher::micro {

/// One thread. Sockets are non-blocking, but for the clients until they are connected; congestion control is cubic throughout.
class Door {
 public:
  static Result<Door> open();

  [[nodiscard]] const Fd& listener() const noexcept { return listener_; }
  /// Opens `count` connections and returns when all of them wait in the queue. What was opened before is reset.
  Result<void> fill_queue(std::size_t count);
  /// The clients of fill_queue(), in the order in which they connected.
  [[nodiscard]] const std::vector<Fd>& clients() const noexcept { return clients_; }
  /// Takes one off the queue.
  [[nodiscard]] Result<Fd> accept() const;

 private:
  Door(Fd listener, Endpoint address) noexcept : listener_(std::move(listener)), address_(address) {}
  Result<void> dial();

  Fd listener_;
  Endpoint address_;
  std::vector<Fd> clients_;
};

}  // namespace usher::micro
