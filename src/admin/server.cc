// The admin server: listening sockets, a few threads each, and the API behind them.
#include "usher/admin/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "admin/http_protocol.h"
#include "admin/http_stream.h"
#include "admin/listening_socket.h"
#include "usher/base/log.h"

namespace usher {
namespace {

constexpr std::size_t threads_per_door = 4;
constexpr int accept_pause_ms = 200;

class Server final : public AdminServer {
 public:
  Server(std::optional<UnixListener> unix_listener, Fd http, std::uint16_t port, Fd stop) noexcept
      : unix_listener_(std::move(unix_listener)), http_(std::move(http)), http_port_(port), stop_(std::move(stop)) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  ~Server() override {
    // An eventfd that nobody reads stays readable: every thread sees it, whatever it waits for.
    if (::eventfd_write(stop_.number(), 1) != 0) log_error("admin", "{}", system_error("eventfd_write").message);
    for (std::thread& thread : threads_) thread.join();
  }

  void start(const AdminOptions& options, ApiRules::Names names, Service& service) {
    if (unix_listener_) {
      unix_protocol_.emplace(ApiRules{.door = Door::unix_socket, .socket = options.socket}, service);
      start_threads(unix_listener_->socket(), *unix_protocol_);
    }
    if (http_) {
      http_protocol_.emplace(
          ApiRules{.door = Door::http, .token = options.token, .socket = options.socket, .names = names}, service);
      start_threads(http_, *http_protocol_);
    }
  }

  [[nodiscard]] std::uint16_t http_port() const noexcept override { return http_port_; }

 private:
  void start_threads(const Fd& listening, HttpProtocol& protocol) {
    for (std::size_t i = 0; i < threads_per_door; ++i) {
      threads_.emplace_back([this, &listening, &protocol] { serve(listening, protocol); });
    }
  }

  /// Each thread accepts and serves for itself: what they can't take yet waits in the kernel's queue, which is bounded.
  void serve(const Fd& listening, HttpProtocol& protocol) noexcept {
    for (;;) {
      std::array<pollfd, 2> polled{{{listening.number(), POLLIN, 0}, {stop_.number(), POLLIN, 0}}};
      if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) {
        log_error("admin", "{}", system_error("poll").message);
        return;
      }
      if (polled[1].revents != 0) return;
      if (polled[0].revents == 0) continue;
      const Fd client(::accept4(listening.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (client) {
        serve_client(client, protocol);
      } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {  // EAGAIN: another thread was first
        pause_after(system_error("accept"));
      }
    }
  }

  void serve_client(const Fd& client, HttpProtocol& protocol) noexcept try {
    // Head and body are two writes; Nagle would hold the second until the first is acknowledged. Unix sockets don't
    // know the option, and don't need it.
    const int yes = 1;
    (void)::setsockopt(client.number(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    HttpStream stream(client, stop_);
    protocol.serve_one(stream);
    stream.finish();
  } catch (const std::exception& e) {
    log_error("admin", "a request ended by an exception: {}", e.what());
  }

  /// Out of descriptors or memory: says so once, and doesn't spin on a queue that stays readable.
  void pause_after(const Error& error) noexcept {
    if (!accept_error_said_.exchange(true))
      log_warning("admin", "{}; trying again every {} ms", error.message, accept_pause_ms);
    pollfd stop{stop_.number(), POLLIN, 0};
    (void)::poll(&stop, 1, accept_pause_ms);  // stopped or not: the loop looks by itself
  }

  std::optional<UnixListener> unix_listener_;
  Fd http_;
  std::uint16_t http_port_;
  Fd stop_;
  std::atomic<bool> accept_error_said_ = false;
  std::optional<HttpProtocol> unix_protocol_, http_protocol_;
  std::vector<std::thread> threads_;
};

bool is_loopback(const Endpoint& address) noexcept {
  const Endpoint plain = address.unmapped();
  const auto bytes = plain.address_bytes();
  if (plain.family() == AF_INET) return bytes[0] == 127;
  return IN6_IS_ADDR_LOOPBACK(reinterpret_cast<const in6_addr*>(bytes.data()));
}

}  // namespace

Result<std::unique_ptr<AdminServer>> start_admin_server(const AdminOptions& options, Service& service) try {
  Fd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) return fail_system("admin: eventfd");
  std::optional<UnixListener> unix_listener;
  if (!options.socket.empty()) {
    auto opened = UnixListener::open(options.socket);
    if (!opened) return std::unexpected(opened.error());
    unix_listener.emplace(std::move(*opened));
  }
  Fd http;
  std::uint16_t port = 0;
  ApiRules::Names names = ApiRules::Names::any;
  if (!options.http.empty()) {
    const auto address = Endpoint::parse(options.http);
    if (!address) return fail("admin http: " + address.error().message);
    auto opened = open_tcp_listener(*address);
    if (!opened) return std::unexpected(opened.error());
    http = std::move(*opened);
    const auto bound = port_of(http);
    if (!bound) return std::unexpected(bound.error());
    port = *bound;
    if (is_loopback(*address)) names = ApiRules::Names::local_only;
  }
  auto server = std::make_unique<Server>(std::move(unix_listener), std::move(http), port, std::move(stop));
  server->start(options, names, service);
  return server;
} catch (const std::exception& e) {  // no thread, no memory
  return fail(std::string("admin: cannot start: ") + e.what());
}

}  // namespace usher
