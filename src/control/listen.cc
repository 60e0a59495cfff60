// Listening sockets: socket, bind, listen, and what accepted sockets inherit from them.
#include "control/listen.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

#include <fmt/format.h>

#include "usher/base/log.h"

namespace usher {
namespace {

void set_option(const Fd& socket, int level, int option, int value, const char* what) {
  if (::setsockopt(socket.number(), level, option, &value, sizeof value) != 0) {
    log_warning("control", "{}", system_error(fmt::format("can't set {} on a listening socket", what)).message);
  }
}

Error bind_error(const ListenerConfig& listener, const Endpoint& address, int code) {
  Error error = system_error(fmt::format("listener {}: can't bind {}", listener.name, address.text()), code);
  if (code == EADDRINUSE) error.message += "; another process listens there (ss -ltnp shows which)";
  if (code == EACCES) error.message += "; ports below 1024 need CAP_NET_BIND_SERVICE (the unit file grants it) or a lower net.ipv4.ip_unprivileged_port_start";
  if (code == EADDRNOTAVAIL) error.message += "; no interface of this host has that address";
  return error;
}

Result<Fd> bound_socket(const ListenerConfig& listener, const Endpoint& address, int reuse_option) {
  Fd socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!socket) return fail_system(fmt::format("listener {}: can't make a socket for {}", listener.name, address.text()));
  set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
  if (reuse_option != 0) set_option(socket, SOL_SOCKET, reuse_option, 1, "SO_REUSEPORT");
  // Both "0.0.0.0:80" and "[::]:80" may stand in one list.
  if (address.family() == AF_INET6) set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
  if (::bind(socket.number(), address.data(), address.length()) != 0) return std::unexpected(bind_error(listener, address, errno));
  return socket;
}

int seconds(Duration duration) {
  return static_cast<int>(std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::seconds>(duration).count()));
}

}  // namespace

Result<std::shared_ptr<ListenGroup>> open_group(const ListenerConfig& listener, const Endpoint& address, std::uint32_t workers,
                                                PortHolder holder) {
  // Without SO_REUSEPORT first: with it, two processes of one user would share the port, and each get half, unnoticed.
  if (holder == PortHolder::nobody_known) {
    if (auto alone = bound_socket(listener, address, 0); !alone) return std::unexpected(alone.error());
  }
  auto group = std::make_shared<ListenGroup>();
  group->address = address;
  for (std::uint32_t i = 0; i < workers; ++i) {
    auto socket = bound_socket(listener, address, SO_REUSEPORT);
    if (!socket) return std::unexpected(socket.error());
    if (::listen(socket->number(), static_cast<int>(listener.backlog)) != 0) {
      return fail_system(fmt::format("listener {}: can't listen on {}", listener.name, address.text()));
    }
    group->sockets.push_back(std::move(*socket));
  }
  apply_options(*group, listener);
  return group;
}

void apply_options(const ListenGroup& group, const ListenerConfig& listener) {
  for (const Fd& socket : group.sockets) {
    if (!socket) continue;
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, listener.keepalive.idle > Duration::zero() ? 1 : 0, "SO_KEEPALIVE");
    if (listener.keepalive.idle > Duration::zero()) {
      set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, seconds(listener.keepalive.idle), "TCP_KEEPIDLE");
      set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, seconds(listener.keepalive.interval), "TCP_KEEPINTVL");
      set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, static_cast<int>(listener.keepalive.count), "TCP_KEEPCNT");
    }
    set_option(socket, IPPROTO_TCP, TCP_FASTOPEN, listener.tcp_fast_open ? static_cast<int>(listener.backlog) : 0, "TCP_FASTOPEN");
    // A second listen(2) on the same socket only changes its backlog.
    if (::listen(socket.number(), static_cast<int>(listener.backlog)) != 0) {
      log_error("control", "{}", system_error(fmt::format("listener {}: can't listen on {}", listener.name, group.address.text())).message);
    }
  }
}

}  // namespace usher
