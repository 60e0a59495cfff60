// The admin server: the JSON API over a Unix socket and over HTTP, /metrics, /healthz and /readyz.
#pragma once

#include <memory>
#include <string>

#include "usher/base/error.h"
#include "usher/control/service.h"

namespace usher {

struct AdminOptions {
  std::string socket;       ///< path of the Unix socket, mode 0660; "" = none
  std::string http;         ///< "IP:PORT"; "" = none
  std::string token;        ///< with one, changes are allowed over http too ("Authorization: Bearer TOKEN")
};

/// A resource with threads of its own; stops them in its destructor. `service` must outlive it.
class AdminServer {
 public:
  virtual ~AdminServer() = default;
  /// The port that http listens on (useful with port 0), or 0.
  [[nodiscard]] virtual std::uint16_t http_port() const noexcept = 0;
};

/// Binds everything before it returns, so that an error (address in use, no permission, a socket path another usher answers
/// on) is known at once. A stale socket file, one that nobody answers on, is replaced.
Result<std::unique_ptr<AdminServer>> start_admin_server(const AdminOptions& options, Service& service);

}  // namespace usher
