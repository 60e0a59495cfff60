// Values get where they belong, and files that can't be read say so.
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "usher/config/config.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view everything = R"(
[global]
workers = 3
max_connections = 500
drain_timeout = "1m"
user = "usher"
log_level = "warning"
log_format = "json"
[admin]
socket = "/tmp/admin.sock"
http = "[::1]:9900"
token = "secret"
[[listener]]
name = "web"
bind = "127.0.0.1:0"
pool = "app"
max_connections = 50
accept_proxy_protocol = "required"
trusted_proxies = "10.0.0.0/8"
allow = ["10.0.0.0/8", "2001:db8::/32"]
deny = ["10.1.0.0/16"]
backlog = 128
tcp_fast_open = true
keepalive.idle = "2m"
keepalive.count = 3
[[pool]]
name = "app"
algorithm = "maglev"
hash_key = "source_port"
maglev_table_size = 655373
send_proxy_protocol = "v2"
bind_source = "127.0.0.2"
connect_timeout = "750ms"
connect_attempts = 2
idle_timeout = "1h"
half_close_timeout = "10s"
max_lifetime = "12h"
panic_threshold = 1
initial = "up"
health = { type = "http", interval = "3s", fast_interval = "1s", timeout = "900ms", rise = 4, fall = 5, port = 81, method = "HEAD", path = "/ok", host = "h", expect_status = "200,204,300-399", expect_body = "fine\n" }
backend = [{ address = "127.0.0.1:8000", weight = 0, max_connections = 7, tier = 2 }, { name = "b", address = "[::1]:8000" }]
)";

}  // namespace

TEST_CASE("every supported key gets where it belongs") {
  const Parsed parsed = parse_config(everything, "usher.toml");
  REQUIRE(parsed.config.has_value());
  Config expected;
  expected.global = {3, 500, 1min, "usher", LogLevel::warning, LogFormat::json};
  expected.admin = {"/tmp/admin.sock", "[::1]:9900", "secret"};
  ListenerConfig listener;
  listener.name = "web";
  listener.bind = {*Endpoint::parse("127.0.0.1:0")};
  listener.pool = "app";
  listener.max_connections = 50;
  listener.accept_proxy_protocol = true;
  listener.trusted_proxies = {*Cidr::parse("10.0.0.0/8")};
  listener.allow = {*Cidr::parse("10.0.0.0/8"), *Cidr::parse("2001:db8::/32")};
  listener.deny = {*Cidr::parse("10.1.0.0/16")};
  listener.backlog = 128;
  listener.tcp_fast_open = true;
  listener.keepalive = {2min, 10s, 3};
  expected.listeners = {listener};
  PoolConfig pool;
  pool.name = "app";
  pool.picker.algorithm = Algorithm::maglev;
  pool.picker.hash_key = HashKey::source_port;
  pool.picker.maglev_table_size = 655373;
  pool.picker.panic_threshold = 1.0;
  pool.send_proxy_protocol = ProxyProtocol::v2;
  pool.bind_source = *Endpoint::parse_ip("127.0.0.2", 0);
  pool.connect_timeout = 750ms;
  pool.connect_attempts = 2;
  pool.idle_timeout = 1h;
  pool.half_close_timeout = 10s;
  pool.max_lifetime = 12h;
  pool.initially_up = true;
  pool.health.type = CheckType::http;
  pool.health.interval = 3s;
  pool.health.fast_interval = 1s;
  pool.health.timeout = 900ms;
  pool.health.rise = 4;
  pool.health.fall = 5;
  pool.health.port = 81;
  pool.health.method = "HEAD";
  pool.health.path = "/ok";
  pool.health.host = "h";
  pool.health.expect_status = {{200, 200}, {204, 204}, {300, 399}};
  pool.health.expect_body = "fine\n";
  pool.backends = {{"127.0.0.1:8000", *Endpoint::parse("127.0.0.1:8000"), 0, 7, 2},
                   {"b", *Endpoint::parse("[::1]:8000"), 100, 0, 0}};
  expected.pools = {pool};
  CHECK(*parsed.config == expected);
}

TEST_CASE("a switched-off http address stays empty") {
  const Parsed parsed = parse_config(
      "[admin]\nhttp = \"\"\n[[listener]]\nname=\"a\"\nbind=\"127.0.0.1:1\"\npool=\"p\"\n"
      "[[pool]]\nname=\"p\"\nbackend=[{address=\"127.0.0.1:2\"}]\n",
      "usher.toml");
  REQUIRE(parsed.config.has_value());
  CHECK(parsed.config->admin.http.empty());
}

TEST_CASE("port 0 may be bound by several listeners") {
  const Parsed parsed = parse_config(
      "[[listener]]\nname=\"a\"\nbind=[\"127.0.0.1:0\", \"127.0.0.1:0\"]\npool=\"p\"\n"
      "[[pool]]\nname=\"p\"\nbackend=[{address=\"127.0.0.1:2\"}]\n",
      "usher.toml");
  CHECK(parsed.config.has_value());
}

TEST_CASE("a file that isn't there is one diagnostic at 0:0") {
  const Parsed parsed = load_config("/nonexistent/usher.toml");
  CHECK_FALSE(parsed.config.has_value());
  REQUIRE(parsed.problems.size() == 1);
  CHECK(parsed.problems[0].text() ==
        "/nonexistent/usher.toml:0:0: error: can't open \"/nonexistent/usher.toml\": No such file or directory");
}

TEST_CASE("a directory in place of a file is one diagnostic at 0:0") {
  const Parsed parsed = load_config("/");
  REQUIRE(parsed.problems.size() == 1);
  CHECK(parsed.problems[0].text() == "/:0:0: error: can't read \"/\": Is a directory");
}

TEST_CASE("a file without end is refused, not read for ever") {
  const Parsed parsed = load_config("/dev/zero");
  REQUIRE(parsed.problems.size() == 1);
  CHECK(parsed.problems[0].message == "\"/dev/zero\" is larger than 16777216 bytes");
}

TEST_CASE("text that is no UTF-8 gives a diagnostic that is") {
  const Parsed parsed = parse_config("[global]\nuser = \"\xff\xfe\"\n", "usher.toml");
  REQUIRE(parsed.problems.size() == 1);
  CHECK(parsed.problems[0].line == 2);
  CHECK(parsed.problems[0].message == "not valid TOML: user = \"\\xff\\xfe\"");
}

TEST_CASE("more backends than the board holds are refused") {
  std::string text = "[[listener]]\nname=\"a\"\nbind=\"127.0.0.1:1\"\npool=\"p\"\n[[pool]]\nname=\"p\"\n";
  for (int i = 0; i <= 16384; ++i) {
    text += "[[pool.backend]]\naddress=\"127.1." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ":80\"\n";
  }
  const Parsed parsed = parse_config(text, "usher.toml");
  REQUIRE(parsed.problems.size() == 1);
  CHECK(parsed.problems[0].text() == "usher.toml:0:0: error: the file has 16385 backends, at most 16384 can be held");
}

TEST_CASE("a diagnostic prints its place, its message and its hint") {
  CHECK(Diagnostic{Severity::error, "a.toml", 3, 5, "wrong", "do this"}.text() ==
        "a.toml:3:5: error: wrong\n    hint: do this");
  CHECK(Diagnostic{Severity::warning, "a.toml", 3, 5, "odd", ""}.text() == "a.toml:3:5: warning: odd");
}

}  // namespace usher
