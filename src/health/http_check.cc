// HttpCheck: the request's text, and the answer held against what the pool expects.
#include "usher/health/http_check.h"

#include <algorithm>

#include <fmt/format.h>

namespace usher {
namespace {

std::string text_of(const std::vector<StatusRange>& ranges) {
  std::string text;
  for (const StatusRange& range : ranges) {
    if (!text.empty()) text += ',';
    text += range.low == range.high ? fmt::format("{}", range.low) : fmt::format("{}-{}", range.low, range.high);
  }
  return text;
}

}  // namespace

std::string http_check_request(const HealthOptions& options, const Endpoint& address) {
  const bool has_body = options.method == "POST" || options.method == "PUT" || options.method == "PATCH";
  return fmt::format(
      "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: usher-check/" USHER_VERSION
      "\r\nAccept: */*\r\n{}Connection: close\r\n\r\n",
      options.method, options.path, options.host.empty() ? address.text() : options.host,
      has_body ? "Content-Length: 0\r\n" : "");
}

HttpCheck::HttpCheck(const HealthOptions& options)
    : expect_status_(options.expect_status), expect_body_(options.expect_body), response_(options.method) {}

std::optional<CheckResult> HttpCheck::feed(std::string_view bytes) {
  const HttpResponse::Stage stage = response_.feed(bytes);
  decide();
  switch (stage) {
    case HttpResponse::Stage::head:
    case HttpResponse::Stage::body: return std::nullopt;
    case HttpResponse::Stage::complete: return give_up(fmt::format("body lacks '{}'", expect_body_));
    case HttpResponse::Stage::broken: return give_up(response_.problem());
  }
  return std::nullopt;
}

CheckResult HttpCheck::finish() {
  const HttpResponse::Stage stage = response_.finish();
  decide();
  return give_up(stage == HttpResponse::Stage::complete ? fmt::format("body lacks '{}'", expect_body_)
                                                        : response_.problem());
}

CheckResult HttpCheck::give_up(std::string reason) const {
  return decided_ ? *decided_ : CheckResult{false, std::move(reason)};
}

std::string HttpCheck::waiting_for() const {
  if (response_.status() == 0) return "waiting for an answer";
  return fmt::format("waiting for '{}' in the body", expect_body_);
}

void HttpCheck::decide() {
  const unsigned status = response_.status();
  if (decided_ || status == 0) return;
  const bool expected = std::ranges::any_of(
      expect_status_, [&](const StatusRange& range) { return status >= range.low && status <= range.high; });
  if (!expected) {
    decided_ = CheckResult{false, fmt::format("status {}, expected {}", status, text_of(expect_status_))};
  } else if (expect_body_.empty()) {
    decided_ = CheckResult{true, fmt::format("status {}", status)};
  } else if (response_.body().find(expect_body_, searched_) != std::string::npos) {
    decided_ = CheckResult{true, fmt::format("status {}, body has '{}'", status, expect_body_)};
  } else if (response_.body().size() >= expect_body_.size()) {
    // The next bytes may complete a match that has begun; nothing before that is looked at again.
    searched_ = response_.body().size() - expect_body_.size() + 1;
  }
}

}  // namespace usher
