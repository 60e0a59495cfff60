// ProbeAttempt: the system calls of a health check, one step at a time.
#include "control/probe_attempt.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "usher/base/error.h"

namespace usher {
namespace {

/// One read a step: an endless answer can't keep the prober from its other checks.
constexpr std::size_t read_bytes_max = 16 * 1024;

ProbeOutcome failed(int code, std::string_view doing) {
  if (is_local_problem(code)) return LocalProblem{system_error("no local address or descriptor", code).message, code};
  if (code == ECONNREFUSED) return CheckResult{false, "connection refused"};
  return CheckResult{false, system_error(doing, code).message};
}

}  // namespace

bool is_local_problem(int code) noexcept {
  switch (code) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:
    case EADDRINUSE:
    case EAGAIN:  // connect(2): no free local port
      return true;
    default: return false;
  }
}

bool is_connected_to_itself(const Fd& socket, const Endpoint& dialed) noexcept {
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  if (::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&own), &length) != 0) return false;
  return Endpoint::from(reinterpret_cast<const sockaddr*>(&own), length) == dialed;
}

ProbeAttempt::ProbeAttempt(const Endpoint& address, const HealthOptions& options)
    : address_(address), type_(options.type), timeout_(options.timeout) {
  if (type_ != CheckType::http) return;
  request_ = http_check_request(options, address);
  http_.emplace(options);
}

std::optional<ProbeOutcome> ProbeAttempt::begin() {
  socket_ = Fd(::socket(address_.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!socket_) return failed(errno, "cannot open a socket");
  if (type_ == CheckType::tcp) {
    // As HAProxy does: hold back the handshake's last ACK, so that the reset of connected() overtakes it. The backend's
    // kernel has then answered for its listener, and the backend's accept(2) and its log never see the check. Where the
    // option is refused the check is only a little louder, so the answer doesn't matter.
    const int off = 0;
    (void)::setsockopt(socket_.number(), IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
  }
  if (::connect(socket_.number(), address_.data(), address_.length()) == 0) return connected();
  if (errno == EINPROGRESS || errno == EINTR) return std::nullopt;
  return failed(errno, "cannot connect");
}

std::optional<ProbeOutcome> ProbeAttempt::advance() {
  switch (stage_) {
    case Stage::connecting: {
      int code = 0;
      socklen_t size = sizeof code;
      if (::getsockopt(socket_.number(), SOL_SOCKET, SO_ERROR, &code, &size) != 0) code = errno;
      if (code != 0) return failed(code, "cannot connect");
      return connected();
    }
    case Stage::sending: return send_request();
    case Stage::answering: return read_answer();
  }
  return std::nullopt;
}

std::optional<ProbeOutcome> ProbeAttempt::connected() {
  if (is_connected_to_itself(socket_, address_)) {
    reset_on_close();
    return failed(ECONNREFUSED, "cannot connect");
  }
  if (type_ == CheckType::http) {
    stage_ = Stage::sending;
    return send_request();
  }
  reset_on_close();
  return CheckResult{true, "connected"};
}

std::optional<ProbeOutcome> ProbeAttempt::send_request() {
  const std::string_view rest = std::string_view(request_).substr(sent_);
  const ssize_t count = ::send(socket_.number(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::nullopt;
    // A server that is full may have answered 503 and closed without reading: its answer is still there to be read, and
    // where it isn't, reading says why.
    stage_ = Stage::answering;
    return read_answer();
  }
  sent_ += static_cast<std::size_t>(count);
  if (sent_ == request_.size()) stage_ = Stage::answering;
  return std::nullopt;
}

std::optional<ProbeOutcome> ProbeAttempt::read_answer() {
  std::array<char, read_bytes_max> buffer;
  const ssize_t count = ::recv(socket_.number(), buffer.data(), buffer.size(), 0);
  if (count > 0) {
    auto result = http_->feed({buffer.data(), static_cast<std::size_t>(count)});
    return result ? std::optional<ProbeOutcome>(*std::move(result)) : std::nullopt;
  }
  if (count == 0) return http_->finish();
  if (errno == EAGAIN || errno == EINTR) return std::nullopt;
  return http_->give_up(system_error("lost the connection while " + http_->waiting_for(), errno).message);
}

CheckResult ProbeAttempt::expire() {
  reset_on_close();
  if (stage_ == Stage::connecting) return {false, timed_out(timeout_, "while connecting")};
  if (stage_ == Stage::sending) return {false, timed_out(timeout_, "while sending the request")};
  return http_->give_up(timed_out(timeout_, http_->waiting_for()));
}

std::uint32_t ProbeAttempt::interest() const noexcept {
  return stage_ == Stage::answering ? static_cast<std::uint32_t>(EPOLLIN) : static_cast<std::uint32_t>(EPOLLOUT);
}

void ProbeAttempt::reset_on_close() noexcept {
  // RST instead of FIN (see socket(7), SO_LINGER): whoever closes first keeps the TIME_WAIT, and for thousands of
  // backends checked for ever that is us. Refused, it costs only that TIME_WAIT.
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  (void)::setsockopt(socket_.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace usher
