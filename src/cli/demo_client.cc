// DemoClient: non-blocking sockets, and poll(2) with what is left of the deadline.
#include "cli/demo_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace usher::cli {
namespace {

constexpr std::size_t answer_bytes_max = 16 * 1024;
constexpr std::string_view lasting_request = "GET / HTTP/1.1\r\nHost: demo\r\nUser-Agent: usher-demo\r\n\r\n";
constexpr std::string_view single_request =
    "GET / HTTP/1.1\r\nHost: demo\r\nUser-Agent: usher-demo\r\nConnection: close\r\n\r\n";

/// The body of a whole answer, "" where more must come, an error where none is to be expected.
Result<std::string> body_of(std::string_view text) {
  const std::size_t head_end = text.find("\r\n\r\n");
  if (head_end == std::string_view::npos) {
    return text.size() > answer_bytes_max ? Result<std::string>(fail("the answer has no end"))
                                          : Result<std::string>("");
  }
  constexpr std::string_view length_word = "\r\nContent-Length: ";
  const std::string_view head = text.substr(0, head_end + 2);
  if (!head.starts_with("HTTP/1.1 200 ")) return fail("the answer is not 200");
  const std::size_t at = head.find(length_word);
  std::size_t length = 0;
  if (at == std::string_view::npos) return fail("the answer has no length");
  const char* digits = head.data() + at + length_word.size();
  if (std::from_chars(digits, head.data() + head.size(), length).ec != std::errc{} || length == 0 ||
      length > answer_bytes_max) {
    return fail("the answer has an odd length");
  }
  const std::string_view body = text.substr(head_end + 4);
  if (body.size() < length) return "";
  if (body.size() > length || body.back() != '\n') return fail("the answer is not the one expected");
  return std::string(body.substr(0, length - 1));
}

}  // namespace

Result<std::string> DemoClient::request(Keep keep) {
  const TimePoint deadline = Clock::now() + timeout;
  Result<std::string> answer = fail("");
  if (const Result<void> ready = socket_.open() ? Result<void>() : connect(deadline); !ready) {
    answer = std::unexpected(ready.error());
  } else if (const Result<void> sent = send_all(keep == Keep::alive ? lasting_request : single_request, deadline);
             !sent) {
    answer = std::unexpected(sent.error());
  } else {
    answer = read_answer(deadline);
  }
  if (!answer || keep == Keep::once) socket_.reset();
  return answer;
}

Result<void> DemoClient::connect(TimePoint deadline) {
  socket_ = Fd(::socket(server_.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket_) return fail_system("socket");
  if (::connect(socket_.number(), server_.data(), server_.length()) == 0) return {};
  if (errno != EINPROGRESS) return fail_system("connect");
  if (const Result<void> ready = wait_for(POLLOUT, deadline); !ready) return ready;
  int status = 0;
  socklen_t length = sizeof(status);
  if (::getsockopt(socket_.number(), SOL_SOCKET, SO_ERROR, &status, &length) != 0) return fail_system("getsockopt");
  if (status != 0) return fail_system("connect", status);
  return {};
}

Result<void> DemoClient::send_all(std::string_view text, TimePoint deadline) {
  while (!text.empty()) {
    if (const Result<void> ready = wait_for(POLLOUT, deadline); !ready) return ready;
    const ssize_t sent = ::send(socket_.number(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return fail_system("send");
    if (sent > 0) text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

Result<std::string> DemoClient::read_answer(TimePoint deadline) {
  std::string text;
  std::array<char, 4096> chunk;
  while (true) {
    if (const Result<void> ready = wait_for(POLLIN, deadline); !ready) return std::unexpected(ready.error());
    const ssize_t got = ::recv(socket_.number(), chunk.data(), chunk.size(), 0);
    if (got == 0) return fail("closed before its answer was whole");
    if (got < 0 && errno != EAGAIN && errno != EINTR) return fail_system("recv");
    if (got > 0) text.append(chunk.data(), static_cast<std::size_t>(got));
    Result<std::string> body = body_of(text);
    if (!body || !body->empty()) return body;
  }
}

Result<void> DemoClient::wait_for(short events, TimePoint deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return fail_system("no answer in time", ETIMEDOUT);
    std::array<pollfd, 2> polled = {{{stop_.number(), POLLIN, 0}, {socket_.number(), events, 0}}};
    const int ready = ::poll(polled.data(), polled.size(), static_cast<int>(left));
    if (ready < 0 && errno != EINTR) return fail_system("poll");
    if (ready > 0 && polled[0].revents != 0) return fail_system("the load stops", ECANCELED);
    if (ready > 0) return {};
  }
}

}  // namespace usher::cli
