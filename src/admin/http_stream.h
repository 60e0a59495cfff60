// HttpStream: one accepted connection as the HTTP library reads and writes it, with every wait bounded.
#pragma once

#include <httplib.h>

#include <array>
#include <cstddef>
#include <string>

#include "usher/base/clock.h"
#include "usher/base/fd.h"

namespace usher {

/// The library's own stream bounds each read, so that a client that sends a byte now and then holds a thread for ever,
/// and reads any number of headers. This one bounds a whole request, in time and in bytes. For one thread.
class HttpStream final : public httplib::Stream {
 public:
  /// `stop` becomes readable when the server ends; every wait ends then. Both must outlive the stream.
  HttpStream(const Fd& socket, const Fd& stop) noexcept;

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* into, std::size_t size) override;
  ssize_t write(const char* from, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  /// Never used for I/O; some builds of the library refuse a number past FD_SETSIZE, which a balancer's are.
  socket_t socket() const override { return INVALID_SOCKET; }

  /// Says that nothing more comes, and reads what the client still sends for a moment: closing with unread bytes would
  /// reset the connection and could take the answer with it.
  void finish() noexcept;

 private:
  bool wait(short events, TimePoint until) const noexcept;
  ssize_t receive(char* into, std::size_t size, TimePoint until) const noexcept;

  const Fd& socket_;
  const Fd& stop_;
  TimePoint read_until_;
  TimePoint write_until_{};  ///< set by the first write
  std::size_t bytes_left_;
  std::array<char, 4096> buffer_;  ///< the library reads headers byte by byte
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace usher
