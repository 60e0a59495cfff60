// Door: opening it, and waiting until its queue is as long as it should be.
#include "syscalls/door.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "usher/base/clock.h"

namespace usher::micro {
namespace {

using namespace std::chrono_literals;

constexpr int queue_length_max = 64;
constexpr Duration arrival_patience = 1s;

/// What a machine's default is may pace what is sent.
bool make_cubic(const Fd& socket) noexcept {
  constexpr char cubic[] = "cubic";
  return ::setsockopt(socket.number(), IPPROTO_TCP, TCP_CONGESTION, cubic, sizeof cubic - 1) == 0;
}

/// tcp(7) doesn't say so, but net/ipv4/tcp.c (tcp_get_info) does: of a listening socket, tcpi_unacked is how many wait to be accepted.
Result<std::size_t> queue_length(const Fd& listener) {
  tcp_info state{};
  socklen_t length = sizeof state;
  if (::getsockopt(listener.number(), IPPROTO_TCP, TCP_INFO, &state, &length) != 0) return fail_system("TCP_INFO");
  return state.tcpi_unacked;
}

}  // namespace

Result<Door> Door::open() {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!listener) return fail_system("socket");
  if (!make_cubic(listener)) return fail_system("TCP_CONGESTION cubic");
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::bind(listener.number(), any.data(), any.length()) != 0 || ::listen(listener.number(), queue_length_max) != 0 ||
      ::getsockname(listener.number(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return fail_system("a listening socket on loopback");
  }
  return Door(std::move(listener), Endpoint::from(reinterpret_cast<const sockaddr*>(&address), length));
}

Result<void> Door::dial() {
  Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!client) return fail_system("socket");
  const linger reset{.l_onoff = 1, .l_linger = 0};  // leaves no port in TIME_WAIT: there are many connections to come
  const int on = 1;
  if (!make_cubic(client) || ::setsockopt(client.number(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0 ||
      ::setsockopt(client.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    return fail_system("TCP_CONGESTION cubic, SO_LINGER, TCP_NODELAY");
  }
  if (::connect(client.number(), address_.data(), address_.length()) != 0) return fail_system("connect");
  if (::fcntl(client.number(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) return fail_system("O_NONBLOCK");
  clients_.push_back(std::move(client));
  return {};
}

Result<void> Door::fill_queue(std::size_t count) {
  clients_.clear();
  for (std::size_t i = 0; i < count; ++i) {
    if (const auto dialed = dial(); !dialed) return dialed;
  }
  const TimePoint until = Clock::now() + arrival_patience;
  while (true) {
    const auto waiting = queue_length(listener_);
    if (!waiting) return std::unexpected(waiting.error());
    if (*waiting == count) return {};
    if (Clock::now() > until) return fail(fmt::format("{} connections wait to be accepted, where {} were made", *waiting, count));
  }
}

Result<Fd> Door::accept() const {
  Fd accepted(::accept4(listener_.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!accepted) return fail_system("accept4");
  return accepted;
}

}  // namespace usher::micro
