// Notify: the lines of sd_notify(3), in datagrams that never wait: libsystemd's own call blocks the control thread while the
// other end doesn't read, and a service that waits for its supervisor serves nobody. The protocol is a documented one.
#include "control/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <string_view>

#include <fmt/format.h>

#include "usher/base/fd.h"
#include "usher/base/log.h"

namespace usher {
namespace {

/// What the other end had no room for yet. More than this, and the oldest is lost: it tells of a state long past.
constexpr std::size_t unsent_max = 8;

class Herald {
 public:
  Herald() {
    const char* path = std::getenv("NOTIFY_SOCKET");
    if (path == nullptr || *path == '\0') return;
    const std::size_t length = std::strlen(path);
    if (length >= sizeof address_.sun_path || (*path != '/' && *path != '@')) {
      log_warning("control", "NOTIFY_SOCKET is '{}', which is no path and no abstract socket; systemd won't hear of this service", path);
      return;
    }
    address_.sun_family = AF_UNIX;
    std::memcpy(address_.sun_path, path, length);
    if (*path == '@') address_.sun_path[0] = '\0';
    address_length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    socket_ = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket_) log_warning("control", "{}; systemd won't hear of this service", system_error("a socket for sd_notify").message);
  }

  void send(std::string lines) {
    const std::lock_guard guard(lock_);
    if (!socket_) return;
    unsent_.push_back(std::move(lines));
    if (unsent_.size() > unsent_max) unsent_.pop_front();
    flush();
  }

  /// A status is worth a datagram only where it is a new one.
  void status(const std::string& status) {
    if (status == last_status_) {
      const std::lock_guard guard(lock_);
      if (socket_) flush();
      return;
    }
    last_status_ = status;
    send("STATUS=" + status);
  }

 private:
  void flush() {
    while (!unsent_.empty()) {
      const std::string& next = unsent_.front();
      if (::sendto(socket_.number(), next.data(), next.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&address_), address_length_) < 0) {
        if (errno == EAGAIN || errno == ENOBUFS) return;  // tried again with the next one
        if (!said_) log_warning("control", "{}; systemd won't hear of this service", system_error("sd_notify").message);
        said_ = true;
      }
      unsent_.pop_front();
    }
  }

  std::mutex lock_;
  Fd socket_;
  sockaddr_un address_{};
  socklen_t address_length_ = 0;
  std::deque<std::string> unsent_;
  std::string last_status_;
  bool said_ = false;
};

Herald& herald() {
  static Herald it;
  return it;
}

}  // namespace

void notify_ready(const std::string& status) { herald().send(fmt::format("READY=1\nSTATUS={}", status)); }

void notify_reloading() {
  // Type=notify-reload (systemd 253) wants to know when, by CLOCK_MONOTONIC.
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch());
  herald().send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", now.count()));
}

void notify_stopping(const std::string& status) { herald().send(fmt::format("STOPPING=1\nSTATUS={}", status)); }
void notify_status(const std::string& status) { herald().status(status); }
void notify_watchdog() { herald().send("WATCHDOG=1"); }

std::optional<Duration> watchdog_interval() {
  std::uint64_t microseconds = 0;
  if (sd_watchdog_enabled(0, &microseconds) <= 0 || microseconds == 0) return std::nullopt;
  return std::chrono::microseconds(microseconds);
}

}  // namespace usher
