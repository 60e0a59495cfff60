// ProbeAttempt: one health check under way, from connect(2) to a result; a socket and what was said on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "usher/base/endpoint.h"
#include "usher/base/fd.h"
#include "usher/health/http_check.h"
#include "usher/health/judge.h"
#include "usher/health/options.h"

namespace usher {

/// This machine couldn't ask (no descriptor, no free port, no memory): it says nothing about the backend.
struct LocalProblem {
  std::string reason;
  int code = 0;
};
using ProbeOutcome = std::variant<CheckResult, LocalProblem>;

/// An errno of socket(2) or connect(2) that is our own shortage, not the backend's doing.
bool is_local_problem(int code) noexcept;

/// The kernel may pick the very port that is dialed, on our own address, as the source: with nobody listening there,
/// the simultaneous open of TCP then connects the socket to itself.
bool is_connected_to_itself(const Fd& socket, const Endpoint& dialed) noexcept;

/// A resource. Never blocks. Not thread safe. Destroying it closes the socket and drops the check.
class ProbeAttempt {
 public:
  ProbeAttempt(const Endpoint& address, const HealthOptions& options);

  /// Opens the socket and starts to connect. REQUIRES: called once, first. An outcome means that it is over already.
  std::optional<ProbeOutcome> begin();
  /// The socket is ready: takes one step, of bounded work.
  std::optional<ProbeOutcome> advance();
  /// The check's time is up.
  CheckResult expire();

  /// Level-triggered epoll(7) events to wait for now: EPOLLOUT until the request is sent, then EPOLLIN.
  [[nodiscard]] std::uint32_t interest() const noexcept;
  [[nodiscard]] const Fd& socket() const noexcept { return socket_; }

 private:
  enum class Stage { connecting, sending, answering };

  std::optional<ProbeOutcome> connected();
  std::optional<ProbeOutcome> send_request();
  std::optional<ProbeOutcome> read_answer();
  void reset_on_close() noexcept;

  Endpoint address_;
  CheckType type_;
  Duration timeout_;
  Stage stage_ = Stage::connecting;
  Fd socket_;
  std::string request_;
  std::size_t sent_ = 0;
  std::optional<HttpCheck> http_;
};

}  // namespace usher
