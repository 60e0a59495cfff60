// HttpStream: poll(2) and recv(2) under deadlines.
#include "admin/http_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "admin/http_protocol.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr auto request_time_max = 5s;
constexpr auto write_stall_max = 5s;  // without any progress
constexpr auto write_time_max = 60s;
constexpr auto linger_time_max = 500ms;
constexpr std::size_t header_bytes_max = 64 * 1024;
constexpr std::size_t linger_bytes_max = 256 * 1024;

}  // namespace

HttpStream::HttpStream(const Fd& socket, const Fd& stop) noexcept
    : socket_(socket),
      stop_(stop),
      read_until_(Clock::now() + request_time_max),
      bytes_left_(header_bytes_max + payload_bytes_max) {}

bool HttpStream::wait(short events, TimePoint until) const noexcept {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return false;
    std::array<pollfd, 2> polled{{{socket_.number(), events, 0}, {stop_.number(), POLLIN, 0}}};
    const int ready = ::poll(polled.data(), polled.size(), static_cast<int>(left));
    if (ready < 0 && errno != EINTR) return false;
    if (ready > 0) return polled[1].revents == 0;
  }
}

ssize_t HttpStream::receive(char* into, std::size_t size, TimePoint until) const noexcept {
  for (;;) {
    const ssize_t got = ::recv(socket_.number(), into, size, 0);
    if (got >= 0) return got;
    if (errno == EINTR) continue;
    if (errno != EAGAIN || !wait(POLLIN, until)) return -1;
  }
}

bool HttpStream::is_readable() const { return begin_ < end_ || wait(POLLIN, read_until_); }
bool HttpStream::is_writable() const { return wait(POLLOUT, Clock::now() + write_stall_max); }

ssize_t HttpStream::read(char* into, std::size_t size) {
  if (begin_ == end_) {
    if (bytes_left_ == 0) return -1;
    const ssize_t got = receive(buffer_.data(), std::min(buffer_.size(), bytes_left_), read_until_);
    if (got <= 0) return got;
    begin_ = 0;
    end_ = static_cast<std::size_t>(got);
    bytes_left_ -= end_;
  }
  const std::size_t count = std::min(size, end_ - begin_);
  std::memcpy(into, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t HttpStream::write(const char* from, std::size_t size) {
  if (write_until_ == TimePoint{}) write_until_ = Clock::now() + write_time_max;
  for (;;) {
    const ssize_t sent = ::send(socket_.number(), from, size, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno == EINTR) continue;
    if (errno != EAGAIN || !wait(POLLOUT, std::min(write_until_, Clock::now() + TimePoint::duration(write_stall_max))))
      return -1;
  }
}

void HttpStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

void HttpStream::get_local_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

void HttpStream::finish() noexcept {
  if (::shutdown(socket_.number(), SHUT_WR) != 0) return;  // the client has gone already
  const TimePoint until = Clock::now() + linger_time_max;
  std::size_t drained = 0;
  while (drained < linger_bytes_max) {
    const ssize_t got = receive(buffer_.data(), buffer_.size(), until);
    if (got <= 0) return;
    drained += static_cast<std::size_t>(got);
  }
}

}  // namespace usher
