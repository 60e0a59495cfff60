// HttpCheck: requests as servers want them, answers held against what a pool expects.
#include "usher/health/http_check.h"

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace usher {
namespace {

using namespace std::chrono_literals;

const std::string ok_head = "HTTP/1.1 200 OK\r\n";

Endpoint address(const char* text) { return Endpoint::parse(text).value(); }

TEST_CASE("a request names the host, says who asks, and asks for the close") {
  HealthOptions options;
  options.path = "/healthz?full=1";
  CHECK(http_check_request(options, address("[::1]:8000")) ==
        "GET /healthz?full=1 HTTP/1.1\r\nHost: [::1]:8000\r\nUser-Agent: usher-check/" USHER_VERSION
        "\r\nAccept: */*\r\nConnection: close\r\n\r\n");
  options.host = "app.internal";
  options.method = "POST";
  CHECK(http_check_request(options, address("127.0.0.1:80")) ==
        "POST /healthz?full=1 HTTP/1.1\r\nHost: app.internal\r\nUser-Agent: usher-check/" USHER_VERSION
        "\r\nAccept: */*\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

TEST_CASE("an answer passes or fails for a reason that people understand") {
  struct Row {
    std::vector<StatusRange> ranges;
    const char* body;
    std::string answer;
    bool passed;
    const char* reason;
  };
  const std::vector<StatusRange> usual = {StatusRange{}};
  const std::vector<StatusRange> several = {{200, 200}, {204, 204}, {300, 399}};
  const Row rows[] = {
      {usual, "", ok_head + "\r\n", true, "status 200"},
      {usual, "", "HTTP/1.1 399 X\r\n\r\n", true, "status 399"},
      {usual, "", "HTTP/1.1 400 X\r\n\r\n", false, "status 400, expected 200-399"},
      {usual, "", "HTTP/1.1 503 Busy\r\n\r\nok", false, "status 503, expected 200-399"},
      {several, "", "HTTP/1.1 204 X\r\n\r\n", true, "status 204"},
      {several, "", "HTTP/1.1 301 X\r\n\r\n", true, "status 301"},
      {several, "", "HTTP/1.1 201 X\r\n\r\n", false, "status 201, expected 200,204,300-399"},
      {usual, "ok", ok_head + "\r\nall ok here", true, "status 200, body has 'ok'"},
      {usual, "ok", ok_head + "\r\nall well here", false, "body lacks 'ok'"},
      {usual, "ok", ok_head + "X: ok\r\n\r\n", false, "body lacks 'ok'"},
      {usual, "ok", ok_head + "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", true,
       "status 200, body has 'ok'"},
      {usual, "ok", ok_head + "Content-Length: 9\r\n\r\nok", true, "status 200, body has 'ok'"},
      {usual, "ok", ok_head + "Content-Length: 9\r\n\r\nno", false, "closed before the end of the body"},
      {usual, "ok", "HTTP/1.1 404 X\r\n\r\nok", false, "status 404, expected 200-399"},
      {usual, "", "", false, "closed before answering"},
      {usual, "", "+OK POP3 ready\r\n", false, "answered no HTTP: '+OK POP3 ready'"},
  };
  for (const Row& row : rows) {
    INFO(row.answer);
    HealthOptions options;
    options.expect_status = row.ranges;
    options.expect_body = row.body;
    HttpCheck whole(options);
    auto result = whole.feed(row.answer);
    if (!result) result = whole.finish();
    CHECK(result->passed == row.passed);
    CHECK(result->reason == row.reason);

    HttpCheck by_bytes(options);
    std::optional<CheckResult> slow;
    for (std::size_t i = 0; i < row.answer.size() && !slow; ++i) slow = by_bytes.feed({&row.answer[i], 1});
    if (!slow) slow = by_bytes.finish();
    CHECK(slow->passed == row.passed);
  }
}

TEST_CASE("a server is heard out, so that it doesn't log a reset for every check") {
  HealthOptions options;
  HttpCheck check(options);
  CHECK_FALSE(check.feed(ok_head + "Content-Length: 4\r\n\r\n"));
  CHECK_FALSE(check.feed("abc"));
  CHECK(check.feed("d")->passed);
}

TEST_CASE("an endless answer that has passed already passes when the time is up") {
  HealthOptions options;
  HttpCheck stream(options);
  CHECK_FALSE(stream.feed(ok_head + "\r\ndata: 1\n"));
  CHECK(stream.give_up(timed_out(1s, stream.waiting_for())).passed);

  HttpCheck silent(options);
  CHECK(silent.give_up(timed_out(1s, silent.waiting_for())).reason == "timed out after 1s waiting for an answer");

  options.expect_body = "ready";
  HttpCheck lacking(options);
  CHECK_FALSE(lacking.feed(ok_head + "\r\nwait"));
  CHECK(lacking.give_up(timed_out(1s, lacking.waiting_for())).reason ==
        "timed out after 1s waiting for 'ready' in the body");
}

TEST_CASE("a body is searched to its 64 KiB and no further") {
  HealthOptions options;
  options.expect_body = "needle";
  const std::string hay(http_body_bytes_max - 6, 'x');
  HttpCheck last(options);
  CHECK_FALSE(last.feed(ok_head + "\r\n" + hay));
  CHECK_FALSE(last.feed("nee"));
  CHECK(last.feed("dle")->passed);
  HttpCheck past(options);
  CHECK_FALSE(past.feed(ok_head + "\r\n" + hay));
  CHECK(past.feed("xneedle")->reason == "body lacks 'needle'");
}

}  // namespace
}  // namespace usher
