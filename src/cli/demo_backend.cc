// DemoBackend: one thread, poll(2), answers that always fit into a socket's buffer.
#include "cli/demo_backend.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <utility>

namespace usher::cli {
namespace {

constexpr int backlog = 256;
constexpr std::size_t request_bytes_max = 16 * 1024;

int milliseconds_until(TimePoint at, TimePoint now) {
  if (at == TimePoint::max()) return -1;
  return static_cast<int>(std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(at - now).count()));
}

bool has_header_word(std::string_view head, std::string_view wanted) {
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  return std::search(head.begin(), head.end(), wanted.begin(), wanted.end(), same) != head.end();
}

Result<Fd> bound_socket(const Endpoint& endpoint) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return fail_system("socket for a demo backend");
  const int on = 1;
  ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
  if (::bind(socket.number(), endpoint.data(), endpoint.length()) != 0) return fail_system("bind " + endpoint.text());
  return socket;
}

}  // namespace

Result<std::unique_ptr<DemoBackend>> DemoBackend::start(std::string name, Duration delay) {
  std::unique_ptr<DemoBackend> made(new DemoBackend(std::move(name), delay));
  // Linux keeps a port over shutdown(2) only where it was bound by number. So one socket finds a port, and lends it to
  // the listener.
  auto finder = bound_socket(Endpoint::ipv4(INADDR_LOOPBACK, 0));
  if (!finder) return std::unexpected(finder.error());
  sockaddr_storage bound{};
  socklen_t length = sizeof(bound);
  if (::getsockname(finder->number(), reinterpret_cast<sockaddr*>(&bound), &length) != 0)
    return fail_system("getsockname");
  made->address_ = Endpoint::from(reinterpret_cast<const sockaddr*>(&bound), length);
  auto listener = bound_socket(made->address_);
  if (!listener) return std::unexpected(listener.error());
  made->listener_ = std::move(*listener);
  if (::listen(made->listener_.number(), backlog) != 0) return fail_system("listen for a demo backend");
  made->wake_ = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!made->wake_) return fail_system("eventfd for a demo backend");
  made->thread_ = std::thread([backend = made.get()] { backend->serve(); });
  return made;
}

DemoBackend::~DemoBackend() {
  if (!thread_.joinable()) return;
  want(Wanted::gone);
  thread_.join();
}

void DemoBackend::kill() { want(Wanted::dead); }
void DemoBackend::revive() { want(Wanted::serving); }

void DemoBackend::want(Wanted wanted) {
  wanted_ = wanted;
  const std::uint64_t one = 1;
  // It can fail only where the counter is full, and then the thread wakes anyway.
  [[maybe_unused]] const ssize_t written = ::write(wake_.number(), &one, sizeof(one));
}

void DemoBackend::serve() {
  std::vector<pollfd> polled;
  while (true) {
    if (const Wanted wanted = wanted_; wanted != is_) become(wanted);
    if (is_ == Wanted::gone) return;

    const TimePoint now = Clock::now();
    std::erase_if(connections_, [&](Connection& connection) { return !answer_if_due(connection, now); });

    polled.assign({{wake_.number(), POLLIN, 0}, {is_ == Wanted::serving ? listener_.number() : -1, POLLIN, 0}});
    TimePoint next = TimePoint::max();
    for (const Connection& connection : connections_) {
      // While an answer is due nothing more is read: that bounds what a client may pile up.
      const bool waits = connection.answer_at != TimePoint::max();
      polled.push_back({connection.socket.number(), static_cast<short>(waits ? 0 : POLLIN), 0});
      next = std::min(next, connection.answer_at);
    }
    if (::poll(polled.data(), polled.size(), milliseconds_until(next, now)) <= 0) continue;

    if (polled[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t taken = ::read(wake_.number(), &count, sizeof(count));
    }
    std::size_t i = 2;
    std::erase_if(connections_,
                  [&](Connection& connection) { return polled[i++].revents != 0 && !read_some(connection); });
    if (polled[1].revents != 0) accept_some();
  }
}

void DemoBackend::become(Wanted wanted) {
  is_ = wanted;
  if (wanted == Wanted::serving) {
    // If it can't, it stays dead, alive() says so, and the next revive() tries again.
    if (::listen(listener_.number(), backlog) != 0) wanted_ = is_ = Wanted::dead;
    return;
  }
  // shutdown(2) on a listening socket makes Linux refuse connections and keep the port, so that nobody takes it
  // meanwhile.
  ::shutdown(listener_.number(), SHUT_RDWR);
  for (Connection& connection : connections_) {
    const linger reset{1, 0};  // close then sends RST
    ::setsockopt(connection.socket.number(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  connections_.clear();
}

void DemoBackend::accept_some() {
  for (int i = 0; i < backlog; ++i) {
    Fd socket(::accept4(listener_.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) return;
    if (connections_.size() >= connections_max) continue;  // closed at once
    connections_.push_back({std::move(socket), "", TimePoint::max(), "", AfterAnswer::keep});
  }
}

bool DemoBackend::read_some(Connection& connection) {
  if (connection.answer_at != TimePoint::max()) return false;  // polled for nothing: this is an error or a hang-up
  std::array<char, 4096> chunk;
  const ssize_t got = ::recv(connection.socket.number(), chunk.data(), chunk.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  connection.input.append(chunk.data(), static_cast<std::size_t>(got));
  return take_request(connection);
}

bool DemoBackend::take_request(Connection& connection) {
  const std::size_t end = connection.input.find("\r\n\r\n");
  if (end == std::string::npos) return connection.input.size() <= request_bytes_max;
  const std::string head = connection.input.substr(0, end + 2);
  connection.input.erase(0, end + 4);

  const bool plain = !has_header_word(head, "\r\ncontent-length:") && !has_header_word(head, "\r\ntransfer-encoding:");
  const bool lasting =
      plain && !has_header_word(head, "\r\nconnection: close") && !has_header_word(head, " http/1.0\r\n");
  const std::string body = name_ + "\n";
  connection.after = lasting ? AfterAnswer::keep : AfterAnswer::close;
  connection.answer = fmt::format(
      "HTTP/1.1 {}\r\nContent-Type: text/plain\r\nX-Backend: {}\r\nConnection: {}\r\nContent-Length: {}\r\n\r\n{}",
      plain ? "200 OK" : "413 Content Too Large", name_, lasting ? "keep-alive" : "close", body.size(),
      head.starts_with("HEAD ") ? "" : body);
  connection.answer_at = Clock::now() + delay_;
  return true;
}

bool DemoBackend::answer_if_due(Connection& connection, TimePoint now) {
  while (connection.answer_at <= now) {
    connection.answer_at = TimePoint::max();
    const std::string answer = std::exchange(connection.answer, "");
    const ssize_t sent = ::send(connection.socket.number(), answer.data(), answer.size(), MSG_NOSIGNAL);
    // A client that has not read hundreds of answers is not worth a buffer here.
    if (sent != static_cast<ssize_t>(answer.size())) return false;
    if (connection.after == AfterAnswer::close) return false;
    // The next request of a pipeline may have come already.
    if (!connection.input.empty() && !take_request(connection)) return false;
  }
  return true;
}

}  // namespace usher::cli
