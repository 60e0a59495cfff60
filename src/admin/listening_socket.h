// Listening sockets for the admin server: the Unix socket with its file, and http's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher {

/// A listening Unix socket and its file, mode 0660. A resource: the destructor removes the file, if it is still this
/// socket's.
class UnixListener {
 public:
  /// Makes the last directory of `path` where it is missing, and replaces a socket file that nobody answers on. An
  /// error where somebody does, or where `path` is something else. Of two processes that try at once, one gets it.
  static Result<UnixListener> open(const std::string& path);
  UnixListener(UnixListener&& other) noexcept;
  UnixListener& operator=(UnixListener&&) = delete;
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;
  ~UnixListener();

  [[nodiscard]] const Fd& socket() const noexcept { return socket_; }

 private:
  UnixListener(Fd socket, std::string path, dev_t device, ino_t inode) noexcept
      : socket_(std::move(socket)), path_(std::move(path)), device_(device), inode_(inode) {}

  Fd socket_;
  std::string path_;
  dev_t device_;
  ino_t inode_;
};

/// Without SO_REUSEPORT: two ushers must not share the port unawares.
Result<Fd> open_tcp_listener(const Endpoint& address);
/// What a port 0 became.
[[nodiscard]] Result<std::uint16_t> port_of(const Fd& socket);

/// Connects to a Unix socket, as "does anybody answer": 0, or the errno.
[[nodiscard]] int try_connect(const std::string& path) noexcept;

}  // namespace usher
