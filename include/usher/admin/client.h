// The admin client: one request to a running usher's admin socket.
#pragma once

#include <string>
#include <string_view>

#include "usher/base/error.h"

namespace usher {

struct AdminResponse {
  int status = 0;
  std::string body;
};

/// `method` is GET, POST, PUT or DELETE; `body` is JSON or "". An error means that no answer came ("no usher answers on
/// PATH: ..."); a refusal is an answer with its status. Bounded by 10 s (reloads by 30 s).
///
/// What answers look like (members as in usher/control/service.h; times RFC 3339 or null, durations seconds):
///   GET  /api/v1/status             {"version", "pid", "phase", "started", "uptime", ...}: StatusReport, flat
///   GET  /api/v1/listeners          {"listeners": [{"name", "bind": [], "pool", ..., "accepted", "active",
///                                    "closed": {OUTCOME: n}, "bytes_in", "bytes_out", "duration": {"count", "sum"}}]}
///   GET  /api/v1/backends           {"backends": [{"pool", "name", "address", "intent", "health", ..., "connections",
///                                    "connect_failures": {REASON: n}, "bytes_in", "bytes_out", "checks_passed", ...}]}
///   GET  /api/v1/connections?max=N  {"connections": [{"worker", "listener", ..., "age", "idle", "bytes_in", ...}]}
///   GET  /api/v1/events?max=N       {"events": [{"number", "at", "kind", "subject", "message"}]}
///   GET  /api/v1/config             {"file", "text"}
///   POST /api/v1/backends/POOL/NAME the backend as it is now, as in /backends
///   POST /api/v1/reload             {"applied": true, "changes": [], "problems": []}; refused: 409, with "error" too
/// Every refusal is {"error": "a sentence"}.
Result<AdminResponse> admin_request(const std::string& socket_path, std::string_view method, const std::string& path,
                                    const std::string& body = "");

}  // namespace usher
