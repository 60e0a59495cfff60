// DemoClient: one HTTP connection of the demo's own load, with a deadline on everything.
#pragma once

#include <string>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher::cli {

/// How the connection is meant to end: closed after one answer, or kept for the next request.
enum class Keep { once, alive };

/// A resource; not thread safe. Gives up at once where `stop` (an eventfd) becomes readable.
class DemoClient {
 public:
  static constexpr Duration timeout = std::chrono::seconds(2);  ///< for a request, with its connect

  DemoClient(Endpoint server, const Fd& stop) : server_(server), stop_(stop) {}

  /// Connects where it isn't, asks, and returns the body without its newline: the backend's name. After an error, and
  /// after Keep::once, the connection is closed.
  Result<std::string> request(Keep keep);
  [[nodiscard]] bool connected() const noexcept { return socket_.open(); }
  void close() { socket_.reset(); }

 private:
  Result<void> connect(TimePoint deadline);
  Result<void> send_all(std::string_view text, TimePoint deadline);
  Result<std::string> read_answer(TimePoint deadline);
  Result<void> wait_for(short events, TimePoint deadline);

  Endpoint server_;
  const Fd& stop_;
  Fd socket_;
};

}  // namespace usher::cli
