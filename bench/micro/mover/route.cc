// Route: the sockets, and the untimed work around a turn.
#include "mover/route.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "usher/base/endpoint.h"
#include "usher/base/rng.h"

namespace usher::micro {
namespace {

using namespace std::chrono_literals;

constexpr int socket_buffer_bytes = 4 << 20;
constexpr std::size_t offsets = 1U << 16;  ///< messages begin at as many places of the noise
constexpr Duration patience = 1s;
constexpr Duration arrival_patience = 200us;

/// Bytes of one of the socket's queues (tcp(7): SIOCINQ; linux/sockios.h: SIOCOUTQNSD, what was not sent yet).
std::size_t queued(const Fd& socket, unsigned long queue) noexcept {
  int bytes = 0;
  return ::ioctl(socket.number(), queue, &bytes) == 0 ? static_cast<std::size_t>(bytes) : 0;
}

void widen(const Fd& socket) noexcept {
  const int bytes = socket_buffer_bytes;
  // Without the privilege, net.core.rmem_max and wmem_max bound it, and large messages take several turns.
  if (::setsockopt(socket.number(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) {
    ::setsockopt(socket.number(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
  if (::setsockopt(socket.number(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) {
    ::setsockopt(socket.number(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
}

bool prepare(const Fd& socket) noexcept {
  constexpr char cubic[] = "cubic";
  const int on = 1;
  return ::setsockopt(socket.number(), IPPROTO_TCP, TCP_CONGESTION, cubic, sizeof cubic - 1) == 0 &&
         ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
}

}  // namespace

Result<Connection> Connection::open() {
  Fd door(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Connection made;
  made.far = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!door || !made.far) return fail_system("socket");
  // Before they connect: the window's scale is settled then, and an accepted socket takes after the listening one.
  widen(door);
  widen(made.far);
  const Endpoint any = Endpoint::ipv4(INADDR_LOOPBACK, 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::bind(door.number(), any.data(), any.length()) != 0 || ::listen(door.number(), 1) != 0 ||
      ::getsockname(door.number(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return fail_system("a listening socket on loopback");
  }
  if (::connect(made.far.number(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return fail_system("connect");
  made.near = Fd(::accept4(door.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!made.near) return fail_system("accept4");
  if (!prepare(made.far) || !prepare(made.near)) return fail_system("TCP_CONGESTION cubic, TCP_NODELAY");
  return made;
}

Result<Route> Route::open() {
  auto source = Connection::open();
  if (!source) return std::unexpected(source.error());
  auto target = Connection::open();
  if (!target) return std::unexpected(target.error());
  return Route(std::move(*source), std::move(*target));
}

Route::Route(Connection source, Connection target)
    : source_(std::move(source)), target_(std::move(target)), noise_(message_bytes_max + offsets), received_(message_bytes_max) {
  Rng rng(1);
  std::ranges::generate(noise_, [&] { return static_cast<char>(rng()); });
}

Result<void> Route::write_more(std::span<const char> message, std::size_t& written) {
  while (written < message.size()) {
    const ssize_t put =
        ::send(source_.far.number(), message.data() + written, message.size() - written, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && errno == EAGAIN) return {};
    if (put < 0) return fail_system("send into the source");
    written += static_cast<std::size_t>(put);
  }
  return {};
}

Result<void> Route::read_more(std::size_t bytes, std::size_t& read) {
  while (read < bytes) {
    const ssize_t got = ::recv(target_.far.number(), received_.data() + read, bytes - read, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return {};
    if (got < 0) return fail_system("recv behind the target");
    if (got == 0) return fail("the target's connection was closed");
    read += static_cast<std::size_t>(got);
  }
  return {};
}

Result<Passage> Route::pass(Move& move, std::size_t bytes) {
  const std::span<const char> message(noise_.data() + (messages_++ * 4099) % offsets, bytes);
  Passage passage;
  std::size_t written = 0;
  std::size_t delivered = 0;
  std::size_t read = 0;
  TimePoint progress = Clock::now();
  while (read < bytes) {
    const std::size_t before = written + delivered + read;
    if (const auto wrote = write_more(message, written); !wrote) return std::unexpected(wrote.error());
    if (passage.turns == 0) {
      // On loopback what was sent has mostly arrived by now; not so where the window was too small for it.
      const TimePoint until = Clock::now() + arrival_patience;
      while (queued(source_.near, SIOCINQ) < written && Clock::now() < until) continue;
    }
    if (delivered < written) {
      const TimePoint start = Clock::now();
      const Turn turn = move.turn(written - delivered);
      passage.moving += Clock::now() - start;
      if (!turn.error.empty()) return fail(turn.error);
      delivered += turn.delivered;
      ++passage.turns;
      passage.late = passage.late || queued(target_.near, SIOCOUTQNSD) != 0;
    }
    if (const auto got = read_more(delivered, read); !got) return std::unexpected(got.error());
    const TimePoint now = Clock::now();
    if (written + delivered + read != before) {
      progress = now;
    } else if (now - progress > patience) {
      return fail(fmt::format("nothing moves: of {} bytes {} were written, {} moved, {} read", bytes, written, delivered, read));
    } else {
      std::array<pollfd, 3> any = {pollfd{source_.near.number(), POLLIN, 0}, pollfd{target_.far.number(), POLLIN, 0},
                                   pollfd{target_.near.number(), static_cast<short>(delivered < written ? POLLOUT : 0), 0}};
      ::poll(any.data(), any.size(), 10);
    }
  }
  if (const auto wrong = std::ranges::mismatch(message, std::span(received_).first(bytes)); wrong.in1 != message.end()) {
    return fail(fmt::format("byte {} of {} arrived wrong: lost, doubled or out of order", wrong.in1 - message.begin(), bytes));
  }
  return passage;
}

}  // namespace usher::micro
