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

/// `method` is GET, POST, PUT or DELETE; `body` is JSON or "". An error means that no answer came ("no usher answers on PATH: ..."); a
/// refusal is an answer with its status. Bounded by 10 s (reloads by 30 s).
Result<AdminResponse> admin_request(const std::string& socket_path, std::string_view method, const std::string& path,
                                    const std::string& body = "");

}  // namespace usher
