// HttpCheck: what an http health check sends, and what it makes of the answer; pure, no sockets.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "usher/base/endpoint.h"
#include "usher/health/http_response.h"
#include "usher/health/judge.h"
#include "usher/health/options.h"

namespace usher {

/// An HTTP/1.1 request with Host, User-Agent usher-check/VERSION and Connection: close. REQUIRES: method, path and host
/// hold no spaces or line ends; the configuration's reader sees to that.
std::string http_check_request(const HealthOptions& options, const Endpoint& address);

/// One check's answer, from the first byte to a result. The result is held back until the message has ended (or its
/// first 64 KiB are here), even where the status line decides it: a server that is cut off in the middle of its answer
/// logs an error for every check. Not thread safe.
class HttpCheck {
 public:
  explicit HttpCheck(const HealthOptions& options);

  /// The next bytes. Gives the result when there is nothing more to wait for.
  std::optional<CheckResult> feed(std::string_view bytes);
  /// The peer has closed.
  CheckResult finish();
  /// Nothing more will come, for `reason`: that is the failure, unless what came has decided the check.
  [[nodiscard]] CheckResult give_up(std::string reason) const;
  /// "while connecting" is the caller's; this is what comes after: "waiting for an answer", "waiting for 'ok' in the
  /// body".
  [[nodiscard]] std::string waiting_for() const;

 private:
  void decide();

  std::vector<StatusRange> expect_status_;
  std::string expect_body_;
  HttpResponse response_;
  std::size_t searched_ = 0;  ///< no match starts before this byte of the body
  std::optional<CheckResult> decided_;
};

}  // namespace usher
