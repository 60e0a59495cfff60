// Listening sockets: unix(7) and ip(7), with every error said.
#include "admin/listening_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "usher/base/clock.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr int backlog = 64;
constexpr mode_t socket_mode = 0660;
constexpr auto lock_wait_max = 2s;
constexpr auto lock_poll_interval = 10ms;

std::unexpected<Error> cannot(const std::string& path, std::string_view what, int code = errno) {
  return fail_system(fmt::format("admin socket {}: cannot {}", path, what), code);
}

bool set_address(const std::string& path, sockaddr_un& address) noexcept {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return true;
}

/// Locks the directory while the path is looked at and taken, so that two that start at once don't both find a stale
/// file and the later one unlinks the other's fresh socket.
Result<Fd> lock_directory(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const std::string directory = parent.empty() ? std::string(".") : parent;
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return cannot(path, "make its directory");
  Fd lock(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return cannot(path, "open its directory");
  const TimePoint deadline = Clock::now() + lock_wait_max;
  while (::flock(lock.number(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return cannot(path, "lock its directory");
    if (Clock::now() > deadline) return cannot(path, "lock its directory, somebody else keeps it locked", EWOULDBLOCK);
    std::this_thread::sleep_for(lock_poll_interval);
  }
  return lock;
}

Result<void> clear_the_way(const std::string& path) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return {};
    return cannot(path, "look at it");
  }
  if (!S_ISSOCK(file.st_mode)) {
    return fail(
        fmt::format("admin socket {}: there is a file that is not a socket; move it away or name another path", path));
  }
  switch (const int code = try_connect(path)) {
    case ECONNREFUSED:  // nobody listens: what a killed process leaves behind
      if (::unlink(path.c_str()) != 0 && errno != ENOENT) return cannot(path, "remove the stale file");
      return {};
    case ENOENT:
      return {};
    case 0:
    case EAGAIN:  // its queue is full, so somebody has one
      return std::unexpected(Error{
          fmt::format("admin socket {}: another usher answers there; stop it or name another path", path), EADDRINUSE});
    default:
      return cannot(path, "find out whether somebody answers there", code);
  }
}

}  // namespace

int try_connect(const std::string& path) noexcept {
  sockaddr_un address;
  if (!set_address(path, address)) return ENAMETOOLONG;
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return errno;
  return ::connect(probe.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

Result<UnixListener> UnixListener::open(const std::string& path) {
  sockaddr_un address;
  if (!set_address(path, address)) {
    return fail(fmt::format("admin socket {}: a socket's path has 1 to {} bytes", path, sizeof address.sun_path - 1));
  }
  const Result<Fd> lock = lock_directory(path);
  if (!lock) return std::unexpected(lock.error());
  if (const Result<void> clear = clear_the_way(path); !clear) return std::unexpected(clear.error());

  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return cannot(path, "make a socket");
  // The file takes the socket's mode less the umask: it is never wider than it should be, not even for a moment.
  if (::fchmod(socket.number(), socket_mode) != 0) return cannot(path, "set its mode");
  if (::bind(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return cannot(path, "bind it");
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) return cannot(path, "look at it");
  UnixListener listener(std::move(socket), path, file.st_dev, file.st_ino);
  if (::chmod(path.c_str(), socket_mode) != 0) return cannot(path, "set its mode");
  if (::listen(listener.socket_.number(), backlog) != 0) return cannot(path, "listen");
  return listener;
}

UnixListener::UnixListener(UnixListener&& other) noexcept
    : socket_(std::move(other.socket_)), path_(std::move(other.path_)), device_(other.device_), inode_(other.inode_) {}

UnixListener::~UnixListener() {
  if (!socket_) return;
  struct stat file {};
  const bool still_ours = ::lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_;
  // A destructor has nobody to tell; the next start finds a file that nobody answers on, and replaces it.
  if (still_ours) (void)::unlink(path_.c_str());
}

Result<Fd> open_tcp_listener(const Endpoint& address) {
  const auto failed = [&](std::string_view what) {
    const int code = errno;  // formatting may change it
    return fail_system(fmt::format("admin http {}: cannot {}", address.text(), what), code);
  };
  Fd socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return failed("make a socket");
  const int yes = 1;
  const int no = 0;
  // A restart must not wait for connections of the last run that are in TIME_WAIT.
  if (::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0) return failed("set SO_REUSEADDR");
  // "[::]" means every address, whatever net.ipv6.bindv6only says: there is only this one listener.
  if (address.family() == AF_INET6 && ::setsockopt(socket.number(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) != 0) {
    return failed("clear IPV6_V6ONLY");
  }
  if (::bind(socket.number(), address.data(), address.length()) != 0) return failed("bind");
  if (::listen(socket.number(), backlog) != 0) return failed("listen");
  return socket;
}

Result<std::uint16_t> port_of(const Fd& socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    return fail_system("getsockname");
  return Endpoint::from(reinterpret_cast<const sockaddr*>(&address), length).port();
}

}  // namespace usher
