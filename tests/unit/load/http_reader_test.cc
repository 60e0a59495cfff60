// HttpReader: finds the end of an answer however its bytes are cut, and keeps nothing.
#include "usher/load/http_reader.h"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "usher/base/rng.h"

using namespace usher;
using namespace usher::load;
using State = HttpReader::State;

namespace {

struct Answer {
  std::string bytes;
  State state = State::complete;
  unsigned status = 200;
  bool last = false;
};

const std::vector<Answer>& answers() {
  static const std::vector<Answer> all = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
      {"HTTP/1.1 200 OK\ncontent-length:5\n\nhello"},
      {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"},
      {"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", State::complete, 404, true},
      {"HTTP/1.1 200 OK\r\nConnection: Foo, Close\r\nContent-Length: 1\r\n\r\n1", State::complete, 200, true},
      {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nno", State::complete, 200, true},
      {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nno"},
      {"HTTP/1.1 204 No Content\r\n\r\n", State::complete, 204},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", State::complete, 304},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 "
       "Created\r\nContent-Length: 1\r\n\r\nx",
       State::complete, 201},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\nTrailer: yes\r\n\r\n"},
      {"HTTP/1.1 200 OK\r\nX: " + std::string(5000, 'y') + "\r\nContent-Length: 3\r\n\r\nabc"},
      {"HTTP/1.1 200 OK\r\nX: folded\r\n and more\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=" + std::string(500, 'y') + "\r\nhello\r\n0\r\n\r\n"},
      {"HTTP/1.1 200 " + std::string(500, 'O') + "\r\nContent-Length: 3\r\n\r\nabc"},
      // The number lies beyond what is read of a line: it must not end at the cut.
      {"HTTP/1.1 200 OK\r\nContent-Length: " + std::string(300, '0') + "3\r\n\r\nabc", State::broken},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + std::string(300, 'x') + ", chunked\r\n\r\n0\r\n\r\n", State::broken},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(300, '0') + "3\r\nabc\r\n0\r\n\r\n",
       State::broken},
      {"HTTP/1.1 200 " + std::string(70'000, 'O') + "\r\nContent-Length: 3\r\n\r\nabc", State::broken},
      {"SSH-2.0-OpenSSH_9.2\r\n", State::broken, 0},
      {"HTTP/2 200 OK\r\n", State::broken, 0},
      {"HTTP/1.1 2x0 OK\r\n", State::broken, 0},
      {"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", State::broken},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", State::broken},
      {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", State::broken},
      {"HTTP/1.1 200 OK\r\n: nameless\r\n\r\n", State::broken},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", State::broken},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", State::broken},
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", State::broken, 101},
  };
  return all;
}

}  // namespace

TEST_CASE("an answer ends where it ends, however it is cut, and the next one is left alone") {
  Rng rng(11);
  HttpReader reader;
  for (const Answer& answer : answers()) {
    for (int round = 0; round < 60; ++round) {
      CAPTURE(answer.bytes, round);
      reader.restart();
      const std::string bytes = answer.bytes + "HTTP/1.1 500 next\r\n";
      State state = State::reading;
      std::size_t at = 0;
      while (state == State::reading && at < bytes.size()) {
        const std::size_t size = round == 0 ? bytes.size() : round == 1 ? 1 : 1 + rng.below(40);
        const auto [now, used] = reader.feed(std::string_view(bytes).substr(at, size));
        state = now;
        at += used;
      }
      REQUIRE(state == answer.state);
      if (state == State::complete) {
        CHECK(at == answer.bytes.size());
        CHECK(reader.status() == answer.status);
        CHECK(reader.last() == answer.last);
      }
    }
  }
}

TEST_CASE("a body without a length ends with the connection") {
  HttpReader reader;
  CHECK(reader.feed("HTTP/1.1 200 OK\r\n\r\nsome bytes").state == State::reading);
  CHECK(reader.feed("and more").state == State::reading);
  CHECK(reader.finish() == State::complete);
  CHECK(reader.last());
}

TEST_CASE("a close before the end is no answer") {
  for (const char* bytes : {"", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"}) {
    CAPTURE(bytes);
    HttpReader reader;
    CHECK(reader.feed(bytes).state == State::reading);
    CHECK(reader.begun() == (*bytes != '\0'));
    CHECK(reader.finish() == State::broken);
  }
}

TEST_CASE("a server that speaks something else is found out by its first wrong byte") {
  HttpReader reader;
  CHECK(reader.feed("220 mail ready").state == State::broken);
}

TEST_CASE("headers without end are refused") {
  HttpReader reader;
  State state = reader.feed("HTTP/1.1 200 OK\r\n").state;
  int lines = 0;
  for (; state == State::reading && lines < 10'000; ++lines)
    state = reader.feed("X: 0123456789012345678901234567890123456789\r\n").state;
  CHECK(state == State::broken);
  CHECK(lines < 2000);
}

TEST_CASE("no bytes make it fall over") {
  Rng rng(5);
  const std::string alphabet = "HTTP/1. 20\r\n:;Content-Length Transfer-Encoding chunked 0afF\t";
  for (int round = 0; round < 3000; ++round) {
    HttpReader reader;
    std::string bytes = rng.below(2) == 0 ? "HTTP/1.1 200 OK\r\n" : "";
    for (std::uint64_t i = rng.below(200); i > 0; --i) bytes += alphabet[rng.below(alphabet.size())];
    std::size_t at = 0;
    State state = State::reading;
    while (at < bytes.size() && state == State::reading) {
      const auto [now, used] = reader.feed(std::string_view(bytes).substr(at, 1 + rng.below(30)));
      state = now;
      at += used;
    }
    CHECK(at <= bytes.size());
    (void)reader.finish();
  }
}
