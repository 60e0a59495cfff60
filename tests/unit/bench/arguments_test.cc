// BenchArguments: what a newcomer types, and the one line that a typo gets.
#include "bench/arguments.h"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

using namespace usher;
using namespace usher::bench;
using namespace usher::load;
using namespace std::chrono_literals;

namespace {

BenchArguments good(const std::vector<std::string>& words) {
  auto parsed = parse_bench_arguments(words);
  if (!parsed) FAIL(parsed.error().err);
  return *parsed;
}

std::string mistake(const std::vector<std::string>& words) {
  const auto parsed = parse_bench_arguments(words);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().status == exit_usage);
  CHECK(parsed.error().out.empty());
  const std::string text = parsed.error().err;
  CHECK(text.starts_with("usher-bench"));
  CHECK(text.find('\n') == text.size() - 1);  // one line
  CHECK(text.find(" --help'") != std::string::npos);
  return text;
}

}  // namespace

TEST_CASE("without options a run is bounded: 50 connections, 10 seconds, closed loop") {
  const BenchArguments parsed = good({"http", "http://127.0.0.1:8080/x"});
  CHECK(parsed.verb == BenchVerb::load);
  CHECK(parsed.plan.mode == LoadMode::http);
  CHECK(parsed.plan.connections == 50);
  CHECK(parsed.plan.duration == 10s);
  CHECK(parsed.plan.warmup == 1s);
  CHECK(parsed.plan.rate == 0);
  CHECK(parsed.plan.timeout == 5s);
  CHECK(parsed.target.text() == "127.0.0.1:8080");
  CHECK(parsed.plan.request.starts_with("GET /x HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"));
  CHECK(parsed.plan.request.ends_with("\r\n\r\n"));
  CHECK(parsed.plan.last_request.ends_with("Connection: close\r\n\r\n"));
}

TEST_CASE("every option is read") {
  const BenchArguments parsed = good({"http",
                                      "http://[::1]/",
                                      "-c",
                                      "100",
                                      "-d",
                                      "500ms",
                                      "--warmup",
                                      "0s",
                                      "-r",
                                      "1000.5",
                                      "--threads",
                                      "2",
                                      "--timeout",
                                      "2",
                                      "--requests",
                                      "7",
                                      "--requests-per-connection",
                                      "3",
                                      "-H",
                                      "A: b",
                                      "--header",
                                      "host: me",
                                      "--json",
                                      "-",
                                      "--quiet",
                                      "--bind",
                                      "::1",
                                      "::2",
                                      "--seed",
                                      "9",
                                      "--connect-rate",
                                      "10"});
  CHECK(parsed.plan.connections == 100);
  CHECK(parsed.plan.duration == 500ms);
  CHECK(parsed.plan.warmup == 0s);
  CHECK(parsed.plan.rate == 1000.5);
  CHECK(parsed.plan.threads == 2);
  CHECK(parsed.plan.timeout == 2s);
  CHECK(parsed.plan.requests_max == 7);
  CHECK(parsed.plan.requests_per_connection == 3);
  CHECK(parsed.plan.request.find("A: b\r\n") != std::string::npos);
  CHECK(parsed.plan.request.find("Host: ") == std::string::npos);  // theirs stands alone
  CHECK(parsed.plan.request.find("host: me\r\n") != std::string::npos);
  CHECK(parsed.json_file == "-");
  CHECK(parsed.loudness == Loudness::quiet);
  CHECK(parsed.plan.sources.size() == 2);
  CHECK(parsed.plan.seed == 9);
  CHECK(parsed.plan.connect_rate == 10);
  CHECK(parsed.target.text() == "[::1]:80");
}

TEST_CASE("each mode gets what it needs") {
  const auto echo = good({"echo", "localhost:1", "--request", "1KiB", "--answer", "64"});
  CHECK(echo.plan.request_bytes == 1024);
  CHECK(echo.plan.requests_per_connection == 0);
  CHECK(good({"connect", "localhost:1"}).plan.requests_per_connection == 1);
  CHECK(good({"stream", "localhost:1", "--direction", "both"}).plan.direction == Direction::both);
  const auto idle = good({"idle", "localhost:1", "-c", "1000", "--connect-rate", "100", "--request", "5"});
  CHECK(idle.plan.warmup == 10s);  // as long as the opening takes
  CHECK(idle.plan.request.size() == 5);
  const auto serve = good({"serve", "sink", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--discard", "-d", "2s"});
  CHECK(serve.verb == BenchVerb::serve);
  CHECK(serve.serve.kind == ServeKind::sink);
  CHECK(serve.serve.listen.size() == 2);
  CHECK(serve.serve.sinking == Sinking::discarded);
  CHECK(serve.serve_for == 2s);
  const auto compare = good({"--compare", "a", "b"});
  CHECK(compare.verb == BenchVerb::compare);
  CHECK(compare.report_files == std::vector<std::string>{"a", "b"});
}

TEST_CASE("a mistake gets one line that names it") {
  const auto names = [](const std::vector<std::string>& words, const char* what) {
    CAPTURE(words);
    CHECK(mistake(words).find(what) != std::string::npos);
  };
  names({}, "a mode is missing");
  names({"htp", "http://a/"}, "unknown mode 'htp'");
  names({"http"}, "a target is missing");
  names({"http", "localhost:80"}, "'localhost:80' is not of the form http://");
  names({"http", "https://a/"}, "TLS isn't spoken");
  names({"http", "http://a:0/"}, "no port");
  names({"http", "http://a:99999/"}, "no port");
  names({"http", "http://u:p@a/"}, "--header 'Authorization");
  names({"http", "http:///"}, "not of the form");
  names({"http", "http://a/ b"}, "%XX");
  names({"http", "http://a/", "--header", "no colon"}, "'no colon'");
  names({"http", "http://a/", "-H", "a: b\r\nc: d"}, "not of the form 'NAME: VALUE'");
  names({"echo", "http://a/"}, "wants HOST:PORT");
  names({"echo", "a"}, "'a' is not of the form HOST:PORT");
  names({"echo", "::1:80"}, "in brackets");
  names({"echo", "a:1", "-c", "0"}, "--connections: '0'");
  names({"echo", "a:1", "-c", "many"}, "--connections: 'many'");
  names({"echo", "a:1", "-d", "soon"}, "--duration");
  names({"echo", "a:1", "-d", "0s"}, "--duration: '0s'");
  names({"echo", "a:1", "-r", "-5"}, "--rate");
  names({"echo", "a:1", "-r", "nan"}, "--rate: 'nan'");
  names({"echo", "a:1", "--request", "4"}, "--request: '4'");
  names({"echo", "a:1", "--threads", "60"}, "60 threads have nothing to do with 50 connections");
  names({"echo", "a:1", "--bind", "here"}, "here");
  names({"echo", "a:1", "--reqests", "4"}, "unknown option '--reqests'");
  names({"stream", "a:1", "--rate", "4"}, "unknown option '--rate'");
  names({"stream", "a:1", "--direction", "left"}, "'left' is not up, down or both");
  names({"serve"}, "what to serve is missing");
  names({"serve", "http"}, "--listen");
  names({"serve", "ftp", "--listen", "127.0.0.1:0"}, "'ftp'");
  names({"serve", "echo", "--listen", "127.0.0.1:0", "--discard"}, "--discard is for");
  names({"serve", "echo", "--listen", "nowhere"}, "nowhere");
  names({"--compare", "a"}, "wants two files");
  names({"--compare", "a", "b", "http", "http://a/"}, "stands alone");
}

TEST_CASE("help and version go to stdout and are no mistake") {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--help"}, {"http", "--help"}, {"serve", "--help"}, {"--version"}}) {
    const auto parsed = parse_bench_arguments(words);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().status == exit_done);
    CHECK(parsed.error().err.empty());
    CHECK_FALSE(parsed.error().out.empty());
  }
}
