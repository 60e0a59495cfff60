// The admin server over its real doors: a Unix socket, and http on 127.0.0.1, read by a raw client of the test's own.
// long: one case a route and a way of going wrong; they share one raw client.
#include "usher/admin/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "fake_service.h"
#include "usher/admin/client.h"
#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/fd.h"

using namespace usher;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using nlohmann::json;

namespace {

/// A directory of the test's own, gone with it.
class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "usher-admin-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;  // a leftover in the temporary directory is no failure of what is tested
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

Fd connect_http(std::uint16_t port) {
  const Endpoint to = Endpoint::ipv4(INADDR_LOOPBACK, port);
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval limit{.tv_sec = 20, .tv_usec = 0};
  REQUIRE(::setsockopt(fd.number(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  REQUIRE(::connect(fd.number(), to.data(), to.length()) == 0);
  return fd;
}

void send_all(const Fd& fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd.number(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the server may refuse before it has read everything
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

struct Reply {
  int status = 0;
  std::string head, body;
};

Reply read_reply(const Fd& fd) {
  std::string all;
  std::array<char, 4096> some{};
  for (ssize_t got = 0; (got = ::recv(fd.number(), some.data(), some.size(), 0)) > 0;) {
    all.append(some.data(), static_cast<std::size_t>(got));
  }
  Reply reply;
  const std::size_t split = all.find("\r\n\r\n");
  if (split == std::string::npos || !all.starts_with("HTTP/1.1 ")) return reply;
  reply.status = std::atoi(all.c_str() + 9);
  reply.head = all.substr(0, split + 2);
  reply.body = all.substr(split + 4);
  return reply;
}

Reply http_raw(std::uint16_t port, std::string_view text) {
  const Fd fd = connect_http(port);
  send_all(fd, text);
  return read_reply(fd);
}

Reply http(std::uint16_t port, std::string_view method, std::string_view path, std::string_view headers = "",
           std::string_view body = "") {
  return http_raw(port, fmt::format("{} {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{}Content-Length: {}\r\n\r\n{}", method,
                                    path, port, headers, body.size(), body));
}

std::unique_ptr<AdminServer> start(const AdminOptions& options, Service& service) {
  auto server = start_admin_server(options, service);
  if (!server) FAIL(server.error().message);
  return std::move(*server);
}

/// A socket file that nobody listens on, as a killed process leaves it.
void leave_stale_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(fd.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

}  // namespace

TEST_CASE("every reading route answers over the socket and over http, with the same body") {
  const TempDirectory directory;
  testing::FakeService service;
  const AdminOptions options{.socket = directory.file("admin.sock"), .http = "127.0.0.1:0", .token = ""};
  const auto server = start(options, service);
  REQUIRE(server->http_port() != 0);
  for (const char* path : {"/api/v1/status", "/api/v1/listeners", "/api/v1/backends", "/api/v1/connections?max=3",
                           "/api/v1/events?max=2", "/api/v1/config"}) {
    CAPTURE(path);
    const auto over_socket = admin_request(options.socket, "GET", path);
    REQUIRE(over_socket);
    CHECK(over_socket->status == 200);
    const Reply over_http = http(server->http_port(), "GET", path);
    CHECK(over_http.status == 200);
    CHECK_THAT(over_http.head, ContainsSubstring("Content-Type: application/json\r\n"));
    CHECK_THAT(over_http.head, ContainsSubstring("Connection: close\r\n"));
    CHECK(over_http.body == over_socket->body);
    CHECK(json::parse(over_http.body).is_object());
  }
  CHECK(json::parse(http(server->http_port(), "GET", "/api/v1/connections?max=3").body)["connections"].size() == 3);
  CHECK(json::parse(http(server->http_port(), "GET", "/api/v1/config").body)["text"] == "[global]\nworkers = 2\n");

  const Reply metrics = http(server->http_port(), "GET", "/metrics");
  CHECK(metrics.status == 200);
  CHECK_THAT(metrics.head, ContainsSubstring("Content-Type: text/plain; version=0.0.4"));
  CHECK_THAT(metrics.body, ContainsSubstring("usher_build_info{version=\"9.9\"} 1\n"));
  CHECK(http(server->http_port(), "GET", "/healthz").body == "ok\n");
  CHECK(http(server->http_port(), "GET", "/readyz").status == 200);
  service.become_unready();
  CHECK(http(server->http_port(), "GET", "/readyz").status == 503);
  const Reply page = http(server->http_port(), "GET", "/");
  CHECK(page.status == 200);
  CHECK_THAT(page.head, ContainsSubstring("Content-Security-Policy: default-src 'none'"));
  const Reply head = http(server->http_port(), "HEAD", "/api/v1/status");
  CHECK(head.status == 200);
  CHECK(head.body.empty());
}

TEST_CASE("changes go through the socket, and through http only with the token") {
  const TempDirectory directory;
  testing::FakeService service;
  const AdminOptions options{.socket = directory.file("admin.sock"), .http = "127.0.0.1:0", .token = "s3cret"};
  const auto server = start(options, service);
  const std::uint16_t port = server->http_port();

  auto answer = admin_request(options.socket, "POST", "/api/v1/backends/app/a", R"({"state": "disabled"})");
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(service.backends()[0].intent == Intent::disabled);
  answer = admin_request(options.socket, "POST", "/api/v1/reload");
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(json::parse(answer->body)["applied"] == true);
  answer = admin_request(options.socket, "PUT", "/api/v1/backends/app/c", R"({"address": "127.0.0.1:1"})");
  REQUIRE(answer);
  CHECK(answer->status == 501);
  answer = admin_request(options.socket, "DELETE", "/api/v1/backends/app/a");
  REQUIRE(answer);
  CHECK(answer->status == 501);
  answer = admin_request(options.socket, "POST", "/api/v1/backends/app/zz", R"({"weight": 1})");
  REQUIRE(answer);
  CHECK(answer->status == 404);
  answer = admin_request(options.socket, "POST", "/api/v1/backends/app/a", R"({"weight": )");
  REQUIRE(answer);
  CHECK(answer->status == 400);
  CHECK_THAT(answer->body, ContainsSubstring("line 1, column 12"));

  const Reply refused = http(port, "POST", "/api/v1/backends/app/b", "", R"({"weight": 5})");
  CHECK(refused.status == 401);
  CHECK_THAT(refused.head, ContainsSubstring("WWW-Authenticate: Bearer\r\n"));
  CHECK(service.backends()[1].weight == 100);
  CHECK(http(port, "POST", "/api/v1/backends/app/b", "Authorization: Bearer s3cret\r\n", R"({"weight": 5})").status ==
        200);
  CHECK(service.backends()[1].weight == 5);
  const Reply wrong_method = http(port, "DELETE", "/api/v1/status");
  CHECK(wrong_method.status == 405);
  CHECK_THAT(wrong_method.head, ContainsSubstring("Allow: GET, HEAD\r\n"));
}

TEST_CASE("a POST that names no length has no body, and is answered at once") {
  testing::FakeService service;
  const auto server = start({.socket = "", .http = "127.0.0.1:0", .token = "t"}, service);
  const TimePoint before = Clock::now();
  const Reply reply = http_raw(server->http_port(),
                               "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n\r\n");
  CHECK(reply.status == 200);
  CHECK(Clock::now() - before < 4s);  // the request's own deadline is 5 s
}

TEST_CASE("what is not a bounded HTTP request is refused with a sentence") {
  testing::FakeService service;
  const auto server = start({.socket = "", .http = "127.0.0.1:0", .token = ""}, service);
  const std::uint16_t port = server->http_port();
  const auto error_of = [](const Reply& reply) {
    INFO(reply.status << " " << reply.body);
    return json::parse(reply.body).at("error").get<std::string>();
  };
  const Reply chunked =
      http_raw(port, "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  CHECK(chunked.status == 411);
  CHECK_THAT(error_of(chunked), ContainsSubstring("Content-Length"));
  CHECK(http(port, "POST", "/api/v1/reload", "Content-Encoding: gzip\r\n", "x").status == 415);
  const Reply large = http(port, "POST", "/api/v1/reload", "", std::string(64 * 1024 + 1, 'x'));
  CHECK(large.status == 413);
  CHECK_THAT(error_of(large), ContainsSubstring("64 KiB"));
  CHECK(http(port, "GET", "/" + std::string(600, 'x')).status == 414);
  CHECK(http(port, "GET", "/" + std::string(8000, 'x')).status == 414);
  CHECK(http_raw(port, "nonsense\r\n\r\n").status == 400);
  CHECK(http(port, "BREW", "/").status == 400);
  CHECK(http(port, "GET", "/%0a%00").status == 404);
  const Reply ranged = http(port, "GET", "/api/v1/config", "Range: bytes=0-0,0-0,0-0\r\n");
  CHECK(ranged.status == 200);
  CHECK(json::parse(ranged.body).contains("text"));
  const Reply flood = http(port, "GET", "/healthz", [] {
    std::string headers;
    for (int i = 0; i < 4000; ++i) headers += fmt::format("X-{}: {}\r\n", i, std::string(50, 'x'));
    return headers;
  }());
  CHECK(flood.status != 200);
  CHECK(http(port, "GET", "/healthz").status == 200);
}

TEST_CASE("a foreign name on a loopback address is refused") {
  testing::FakeService service;
  const auto server = start({.socket = "", .http = "127.0.0.1:0", .token = ""}, service);
  const std::uint16_t port = server->http_port();
  CHECK(http_raw(port, "GET /api/v1/status HTTP/1.1\r\nHost: evil.example:80\r\n\r\n").status == 403);
  CHECK(http_raw(port, "GET /api/v1/status HTTP/1.1\r\nHost: localhost:80\r\n\r\n").status == 200);
}

TEST_CASE("a service that throws costs one answer, not the server") {
  testing::FakeService service;
  const auto server = start({.socket = "", .http = "127.0.0.1:0", .token = ""}, service);
  service.break_down();
  const Reply broken = http(server->http_port(), "GET", "/api/v1/status");
  CHECK(broken.status == 500);
  CHECK(json::parse(broken.body)["error"] == "internal error: the fake broke");
  CHECK(http(server->http_port(), "GET", "/healthz").status == 200);
}

TEST_CASE("a service that has no time is said to be unavailable, and nothing false is told of it") {
  testing::FakeService service;
  const auto server = start({.socket = "", .http = "127.0.0.1:0", .token = ""}, service);
  service.become_busy();
  const Reply busy = http(server->http_port(), "GET", "/api/v1/status");
  CHECK(busy.status == 503);
  CHECK(json::parse(busy.body)["error"] == "the fake is busy");
}

TEST_CASE("clients that connect and say nothing hold up others for a bounded time only") {
  testing::FakeService service;
  const auto server = start({.socket = "", .http = "127.0.0.1:0", .token = ""}, service);
  std::vector<Fd> silent;
  for (int i = 0; i < 4; ++i) silent.push_back(connect_http(server->http_port()));  // one a thread
  send_all(silent[0], "GET /healthz HTT");
  const TimePoint before = Clock::now();
  CHECK(http(server->http_port(), "GET", "/healthz").status == 200);
  CHECK(Clock::now() - before < 15s);  // a request may take 5 s to come
}

TEST_CASE("clients that connect and say nothing don't hold up the server's end") {
  testing::FakeService service;
  auto server = start({.socket = "", .http = "127.0.0.1:0", .token = ""}, service);
  std::vector<Fd> silent;
  for (int i = 0; i < 8; ++i) silent.push_back(connect_http(server->http_port()));
  send_all(silent[0], "GET /healthz HTT");
  const TimePoint before = Clock::now();
  server.reset();
  CHECK(Clock::now() - before < 4s);  // each silent client would have 5 s
}

TEST_CASE("many clients at once are all answered") {
  const TempDirectory directory;
  testing::FakeService service;
  const AdminOptions options{.socket = directory.file("admin.sock"), .http = "127.0.0.1:0", .token = ""};
  const auto server = start(options, service);
  std::atomic<int> right = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (int k = 0; k < 10; ++k) {
        const auto answer = admin_request(options.socket, "GET", "/api/v1/backends");
        if (answer && answer->status == 200 && json::parse(answer->body)["backends"].size() == 3) ++right;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  CHECK(right == 80);
}

TEST_CASE("the socket answers with more than a thousand descriptors open") {
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const rlimit before = limit;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  if (limit.rlim_cur < 1200) SKIP("this machine allows fewer than 1200 descriptors");
  {
    testing::FakeService service;
    const auto server = start({.socket = "", .http = "127.0.0.1:0", .token = ""}, service);
    std::vector<Fd> many;
    while (many.size() < 1100) many.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(many.back().number() > 1024);
    CHECK(http(server->http_port(), "GET", "/healthz").status == 200);
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("the socket file has mode 0660 whatever the umask, and goes with the server") {
  const TempDirectory directory;
  testing::FakeService service;
  const std::string path = directory.file("admin.sock");
  for (const mode_t mask : {mode_t{0}, mode_t{022}, mode_t{077}}) {
    CAPTURE(mask);
    const mode_t before = ::umask(mask);
    auto server = start({.socket = path, .http = "", .token = ""}, service);
    ::umask(before);
    struct stat file {};
    REQUIRE(::lstat(path.c_str(), &file) == 0);
    CHECK(S_ISSOCK(file.st_mode));
    CHECK((file.st_mode & 07777U) == 0660);
    CHECK(server->http_port() == 0);
    server.reset();
    CHECK(::lstat(path.c_str(), &file) != 0);
  }
}

TEST_CASE("a missing directory of the socket is made, a missing path above it is an error") {
  const TempDirectory directory;
  testing::FakeService service;
  const auto server = start({.socket = directory.file("usher/admin.sock"), .http = "", .token = ""}, service);
  CHECK(admin_request(directory.file("usher/admin.sock"), "GET", "/healthz"));
  const auto refused =
      start_admin_server({.socket = directory.file("x/y/admin.sock"), .http = "", .token = ""}, service);
  REQUIRE(!refused);
  CHECK_THAT(refused.error().message, ContainsSubstring("make its directory: No such file or directory"));
}

TEST_CASE("a stale socket file is replaced") {
  const TempDirectory directory;
  testing::FakeService service;
  const std::string path = directory.file("admin.sock");
  leave_stale_socket(path);
  const auto server = start({.socket = path, .http = "", .token = ""}, service);
  const auto answer = admin_request(path, "GET", "/healthz");
  REQUIRE(answer);
  CHECK(answer->body == "ok\n");
}

TEST_CASE("a second server on one socket path is an error that says so, and the first goes on") {
  const TempDirectory directory;
  testing::FakeService service;
  const AdminOptions options{.socket = directory.file("admin.sock"), .http = "", .token = ""};
  const auto first = start(options, service);
  const auto second = start_admin_server(options, service);
  REQUIRE(!second);
  CHECK_THAT(second.error().message, ContainsSubstring("another usher answers there"));
  CHECK(second.error().code == EADDRINUSE);
  CHECK(admin_request(options.socket, "GET", "/healthz"));
}

TEST_CASE("of many that start at once on a stale path, exactly one gets it") {
  const TempDirectory directory;
  testing::FakeService service;
  const AdminOptions options{.socket = directory.file("admin.sock"), .http = "", .token = ""};
  leave_stale_socket(options.socket);
  std::array<Result<std::unique_ptr<AdminServer>>, 6> servers;
  std::vector<std::thread> starters;
  for (auto& server : servers) starters.emplace_back([&] { server = start_admin_server(options, service); });
  for (std::thread& starter : starters) starter.join();
  const auto started =
      std::count_if(servers.begin(), servers.end(), [](const auto& server) { return server.has_value(); });
  CHECK(started == 1);
  CHECK(admin_request(options.socket, "GET", "/healthz"));
}

TEST_CASE("a server that ends leaves a socket that another put in its place") {
  const TempDirectory directory;
  testing::FakeService service;
  const std::string path = directory.file("admin.sock");
  auto first = start({.socket = path, .http = "", .token = ""}, service);
  std::filesystem::rename(path, path + ".old");
  const auto second = start({.socket = path, .http = "", .token = ""}, service);
  first.reset();
  CHECK(admin_request(path, "GET", "/healthz"));
}

TEST_CASE("a file that is no socket stays, and a path that is too long is named") {
  const TempDirectory directory;
  testing::FakeService service;
  const std::string path = directory.file("precious");
  std::ofstream(path) << "text";
  auto refused = start_admin_server({.socket = path, .http = "", .token = ""}, service);
  REQUIRE(!refused);
  CHECK_THAT(refused.error().message, ContainsSubstring("not a socket"));
  CHECK(std::filesystem::file_size(path) == 4);
  refused = start_admin_server({.socket = directory.file(std::string(120, 'x')), .http = "", .token = ""}, service);
  REQUIRE(!refused);
  CHECK_THAT(refused.error().message, ContainsSubstring("1 to 107 bytes"));
}

TEST_CASE("an http port in use is an error, even when the other would share it") {
  testing::FakeService service;
  const auto first = start({.socket = "", .http = "127.0.0.1:0", .token = ""}, service);
  const std::string taken = fmt::format("127.0.0.1:{}", first->http_port());
  const auto second = start_admin_server({.socket = "", .http = taken, .token = ""}, service);
  REQUIRE(!second);
  CHECK_THAT(second.error().message,
             ContainsSubstring("admin http " + taken + ": cannot bind: Address already in use"));
  CHECK(second.error().code == EADDRINUSE);
  const auto bad = start_admin_server({.socket = "", .http = "localhost", .token = ""}, service);
  REQUIRE(!bad);
  CHECK_THAT(bad.error().message, ContainsSubstring("'localhost' is not an address"));
}

TEST_CASE("http on ::1 answers") {
  testing::FakeService service;
  const auto server = start_admin_server({.socket = "", .http = "[::1]:0", .token = ""}, service);
  if (!server && server.error().code == EADDRNOTAVAIL) SKIP("no IPv6 loopback here");
  REQUIRE(server);
  CHECK((*server)->http_port() != 0);
}

TEST_CASE("where nobody answers the client says why and what to do") {
  const TempDirectory directory;
  const std::string path = directory.file("admin.sock");
  auto answer = admin_request(path, "GET", "/healthz");
  REQUIRE(!answer);
  CHECK(answer.error().message ==
        "no usher answers on " + path + ": No such file or directory; is it running? (--socket PATH names another)");
  leave_stale_socket(path);
  answer = admin_request(path, "GET", "/healthz");
  REQUIRE(!answer);
  CHECK_THAT(answer.error().message, ContainsSubstring("Connection refused; is it running?"));
}

TEST_CASE("a socket that is closed to the caller names its owner, mode and group") {
  const TempDirectory directory;
  testing::FakeService service;
  const std::string path = directory.file("admin.sock");
  const auto server = start({.socket = path, .http = "", .token = ""}, service);
  REQUIRE(::chmod(path.c_str(), 0) == 0);
  REQUIRE(::chmod(path.substr(0, path.rfind('/')).c_str(), 0755) == 0);
  Result<AdminResponse> answer = fail("not asked yet");
  std::thread([&] {
    // Root may use every socket: this thread alone, and for good, becomes somebody else (the system call, unlike glibc's
    // function, changes only its caller).
    if (::geteuid() == 0 && ::syscall(SYS_setresuid, 65534, 65534, 65534) != 0) return;
    answer = admin_request(path, "GET", "/healthz");
  }).join();
  REQUIRE(!answer);
  CHECK_THAT(answer.error().message, ContainsSubstring("Permission denied; it is ") && ContainsSubstring("mode 0000"));
}
