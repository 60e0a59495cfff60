// HttpProtocol: the HTTP library's request parser, and nothing else of it, in front of the API.
#pragma once

#include <httplib.h>

#include <cstddef>

#include "admin/api.h"
#include "usher/control/service.h"

namespace usher {

inline constexpr std::size_t payload_bytes_max = 64 * 1024;

/// The library's server is used for what it parses and writes, not for its sockets and threads: those share ports by
/// SO_REUSEPORT, queue connections without bound, let an idle keep-alive client hold a thread, and lose errno. Thread
/// safe.
class HttpProtocol final : private httplib::Server {
 public:
  HttpProtocol(ApiRules rules, Service& service);
  /// Reads one request and answers it. The connection is to be closed then: the dashboard and a scraper ask once a
  /// second at most, and a thread must not wait for what a client may send next.
  void serve_one(httplib::Stream& stream);

 private:
  ApiRules rules_;
};

}  // namespace usher
