// HttpResponse: the same answer however it is split, bounded whatever is sent.
#include "usher/health/http_response.h"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>
#include <string_view>

#include "usher/base/rng.h"

namespace usher {
namespace {

using Stage = HttpResponse::Stage;
constexpr std::string_view garbage_start = "answered no HTTP: ";

struct Read {
  Stage stage;
  unsigned status;
  std::string body;
  friend bool operator==(const Read&, const Read&) = default;
};

Read read_of(const HttpResponse& response) { return {response.stage(), response.status(), response.body()}; }

Read read_whole(std::string_view method, std::string_view text) {
  HttpResponse response(method);
  response.feed(text);
  return read_of(response);
}

// long: a table of answers, and one loop over it.
TEST_CASE("an answer is read however its bytes are split") {
  struct Row {
    const char* what;
    const char* method;
    std::string text;
    Stage stage;  ///< before the peer closes
    unsigned status;
    std::string body;
  };
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const Row rows[] = {
      {"counted", "GET", ok + "Content-Length: 5\r\n\r\nhello", Stage::complete, 200, "hello"},
      {"counted, and more than promised", "GET",
       ok + "content-length:5\r\n\r\nhello, you", Stage::complete, 200, "hello"},
      {"counted, nothing", "GET", ok + "Content-Length: 0\r\n\r\n", Stage::complete, 200, ""},
      {"counted twice the same", "GET",
       ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", Stage::complete, 200, "x"},
      {"up to the close", "GET", "HTTP/1.0 200 OK\r\n\r\nhello", Stage::body, 200, "hello"},
      {"chunked", "GET",
       ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", Stage::complete, 200, "hello"},
      {"chunked with trailers", "GET",
       ok + "TRANSFER-ENCODING: gzip, Chunked\r\n\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n", Stage::complete, 200,
       "0123456789"},
      {"chunks win over a count", "GET",
       ok + "Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", Stage::complete, 200, "x"},
      {"a coding that isn't chunked ends with the close", "GET",
       ok + "Transfer-Encoding: gzip\r\n\r\nxyz", Stage::body, 200, "xyz"},
      {"the last coding counts", "GET",
       ok + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Stage::complete, 200, ""},
      {"1xx first", "GET",
       "HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok +
           "Content-Length: 2\r\n\r\nok",
       Stage::complete, 200, "ok"},
      {"101 is final", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbytes", Stage::complete, 101, ""},
      {"HEAD has no body", "HEAD", ok + "Content-Length: 500\r\n\r\n", Stage::complete, 200, ""},
      {"204 has no body", "GET", "HTTP/1.1 204 No Content\r\n\r\n", Stage::complete, 204, ""},
      {"304 has no body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", Stage::complete, 304, ""},
      {"bare line feeds", "GET", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", Stage::complete, 200, "ok"},
      {"no phrase", "GET", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", Stage::complete, 404, ""},
      {"an empty phrase", "GET", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", Stage::complete, 404, ""},
      {"a folded header", "GET", ok + "X: a\r\n b: c\r\nContent-Length: 2\r\n\r\nok", Stage::complete, 200, "ok"},
      {"half a head", "GET", ok + "Content-Le", Stage::head, 0, ""},
      {"half a body", "GET", ok + "Content-Length: 5\r\n\r\nhe", Stage::body, 200, "he"},
      {"half a chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhe", Stage::body, 200, "he"},
      {"another protocol", "GET", "SSH-2.0-OpenSSH_9.2\r\n", Stage::broken, 0, ""},
      {"a status line without a status", "GET", "HTTP/1.1 OK\r\n\r\n", Stage::broken, 0, ""},
      {"a status of four digits", "GET", "HTTP/1.1 2000 OK\r\n\r\n", Stage::broken, 0, ""},
      {"a status below 100", "GET", "HTTP/1.1 099 OK\r\n\r\n", Stage::broken, 0, ""},
      {"HTTP/2 in words", "GET", "HTTP/2 200\r\n\r\n", Stage::broken, 0, ""},
      {"a header without a colon", "GET", ok + "nonsense\r\n\r\n", Stage::broken, 0, ""},
      {"a header without a name", "GET", ok + ": x\r\n\r\n", Stage::broken, 0, ""},
      {"a count that isn't one", "GET", ok + "Content-Length: five\r\n\r\nhello", Stage::broken, 0, ""},
      {"a negative count", "GET", ok + "Content-Length: -1\r\n\r\n", Stage::broken, 0, ""},
      {"two counts", "GET", ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Stage::broken, 0, ""},
      {"a chunk's size that isn't one", "GET",
       ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\nxyz\r\n", Stage::broken, 200, "he"},
      {"a chunk longer than it said", "GET",
       ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", Stage::broken, 200, "he"},
      {"a chunk's size past 64 bits", "GET",
       ok + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", Stage::broken, 200, ""},
  };
  const std::uint64_t seed = 7;
  Rng rng(seed);
  for (const Row& row : rows) {
    INFO(row.what << ", seed " << seed);
    const Read expected{row.stage, row.status, row.body};
    CHECK(read_whole(row.method, row.text) == expected);

    HttpResponse by_bytes(row.method);
    for (const char& byte : row.text) by_bytes.feed({&byte, 1});
    CHECK(read_of(by_bytes) == expected);

    for (int round = 0; round < 20; ++round) {
      HttpResponse split(row.method);
      for (std::string_view rest = row.text; !rest.empty();) {
        const std::size_t size = std::min<std::size_t>(rest.size(), 1 + rng.below(9));
        split.feed(rest.substr(0, size));
        rest.remove_prefix(size);
      }
      CHECK(read_of(split) == expected);
    }
  }
}

TEST_CASE("what is missing when the peer closes is told apart") {
  struct Row {
    const char* text;
    Stage stage;
    const char* problem;
  };
  const Row rows[] = {
      {"", Stage::broken, "closed before answering"},
      {"HTTP/1.1 20", Stage::broken, "closed in the middle of its answer"},
      {"HTTP/1.1 200 OK\r\nA: b\r\n", Stage::broken, "closed in the middle of its answer"},
      {"HTTP/1.1 100 Continue\r\n\r\n", Stage::broken, "closed in the middle of its answer"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Stage::broken, "closed before the end of the body"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", Stage::broken,
       "closed before the end of the body"},
      {"HTTP/1.1 200 OK\r\n\r\nhell", Stage::complete, ""},
      {"HTTP/1.1 200 OK\r\n\r\n", Stage::complete, ""},
      {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", Stage::complete, ""},
  };
  for (const Row& row : rows) {
    INFO(row.text);
    HttpResponse response("GET");
    response.feed(row.text);
    CHECK(response.finish() == row.stage);
    CHECK(response.problem() == row.problem);
  }
}

TEST_CASE("garbage is told by its first wrong byte, and shown without its control bytes") {
  HttpResponse response("GET");
  CHECK(response.feed("HTTP") == Stage::head);
  CHECK(response.feed("S") == Stage::broken);

  HttpResponse other("GET");
  other.feed(std::string("\x15\x03\x01\0\x02\x02", 6));  // a TLS alert, for plain HTTP sent to a TLS port
  CHECK(other.problem() == std::string(garbage_start) + "'......'");

  HttpResponse banner("GET");
  banner.feed("220 mail.example.org ESMTP ready\r\nmore");
  CHECK(banner.problem() == std::string(garbage_start) + "'220 mail.example.org ESMTP ready'");

  HttpResponse endless("GET");
  endless.feed(std::string(100'000, 'x'));
  CHECK(endless.problem() == std::string(garbage_start) + "'" + std::string(40, 'x') + "...'");
}

TEST_CASE("heads are bounded, one header or many, interim answers and trailers included") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const auto feed_until_stuck = [](std::string start, const std::string& again) {
    HttpResponse response("GET");
    response.feed(start);
    std::size_t fed = start.size();
    while (response.stage() != Stage::broken && fed < 4 * http_head_bytes_max) {
      response.feed(again);
      fed += again.size();
    }
    INFO(response.problem());
    CHECK(response.stage() == Stage::broken);
    CHECK(fed <= http_head_bytes_max + again.size() + 64);
  };
  feed_until_stuck(ok, "x");
  feed_until_stuck(ok, "a: b\r\n");
  feed_until_stuck("", "HTTP/1.1 100 Continue\r\n\r\n");
  feed_until_stuck(ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n", "a: b\r\n");

  HttpResponse at_once("GET");
  CHECK(at_once.feed(ok + std::string(1'000'000, 'x') + "\r\n") == Stage::broken);
  CHECK(at_once.problem() == "its headers are over 16 KiB");

  HttpResponse largest("GET");
  const std::string end = "\r\nContent-Length: 0\r\n\r\n";
  const std::string filling(http_head_bytes_max - ok.size() - 2 - end.size(), 'x');
  CHECK(largest.feed(ok + "X:" + filling + end) == Stage::complete);

  HttpResponse extended("GET");
  extended.feed(ok + "Transfer-Encoding: chunked\r\n\r\n1;");
  CHECK(extended.feed(std::string(http_chunk_line_bytes_max, 'x')) == Stage::broken);
  CHECK(extended.problem() == "a chunk's line is over 1024 bytes");
}

TEST_CASE("a body is kept up to 64 KiB and then is enough") {
  for (const char* framing : {"", "Content-Length: 10000000\r\n", "Transfer-Encoding: chunked\r\n"}) {
    INFO(framing);
    HttpResponse response("GET");
    response.feed(std::string("HTTP/1.1 200 OK\r\n") + framing + "\r\n");
    if (std::string_view(framing).starts_with("Transfer")) response.feed("fffffff\r\n");
    CHECK(response.feed(std::string(http_body_bytes_max - 1, 'x')) == Stage::body);
    CHECK(response.feed("yz") == Stage::complete);
    CHECK(response.body().size() == http_body_bytes_max);
    CHECK(response.body().back() == 'y');
    CHECK(response.finish() == Stage::complete);
  }
}

}  // namespace
}  // namespace usher
