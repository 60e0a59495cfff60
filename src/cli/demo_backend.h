// DemoBackend: a small HTTP server on 127.0.0.1 that answers with its name, and that can be killed and brought back.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher::cli {

/// A resource with one thread, on poll(2). Answers any request without a body with 200 and "NAME\n", after `delay`;
/// keeps at most `connections_max` connections. kill(), revive() and alive() are thread safe.
class DemoBackend {
 public:
  static constexpr std::size_t connections_max = 1000;

  static Result<std::unique_ptr<DemoBackend>> start(std::string name, Duration delay);
  DemoBackend(const DemoBackend&) = delete;
  DemoBackend& operator=(const DemoBackend&) = delete;
  ~DemoBackend();

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Endpoint& address() const noexcept { return address_; }

  /// Resets every connection and refuses new ones, as a process that dies does. The port stays its own.
  void kill();
  void revive();
  [[nodiscard]] bool alive() const noexcept { return wanted_ == Wanted::serving; }

 private:
  enum class Wanted { serving, dead, gone };
  enum class AfterAnswer { keep, close };

  struct Connection {
    Fd socket;
    std::string input;
    TimePoint answer_at = TimePoint::max();  ///< max = no request is waiting for its answer
    std::string answer;
    AfterAnswer after = AfterAnswer::keep;
  };

  DemoBackend(std::string name, Duration delay) : name_(std::move(name)), delay_(delay) {}
  void want(Wanted wanted);
  void serve();
  void become(Wanted wanted);
  void accept_some();
  bool read_some(Connection& connection);
  bool take_request(Connection& connection);
  bool answer_if_due(Connection& connection, TimePoint now);

  std::string name_;
  Duration delay_;
  Endpoint address_;
  Fd listener_;
  Fd wake_;
  std::atomic<Wanted> wanted_{Wanted::serving};
  Wanted is_ = Wanted::serving;  // the thread's own
  std::vector<Connection> connections_;
  std::thread thread_;
};

}  // namespace usher::cli
