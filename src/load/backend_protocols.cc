// TestBackend: what the requests say: the answer protocol, and as much of HTTP/1.1 as a test backend needs.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "load/backend.h"

namespace usher::load {
namespace {

constexpr std::uint64_t body_bytes_max = std::uint64_t{1} << 40;

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || status != std::errc{} || stop != text.data() + text.size() || value > body_bytes_max)
    return std::nullopt;
  return value;
}

std::uint32_t little_endian(std::span<const std::byte> bytes) {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i) value |= std::to_integer<std::uint32_t>(bytes[i]) << (8 * i);
  return value;
}

struct HttpRequest {
  std::string_view method;
  std::string_view target;
  std::uint64_t body_bytes = 0;
  bool last = false;
  bool sound = false;
};

HttpRequest read_head(std::string_view head) {
  HttpRequest request;
  const std::string_view first = head.substr(0, head.find("\r\n"));
  const std::size_t one = first.find(' ');
  const std::size_t two = first.rfind(' ');
  if (one == std::string_view::npos || two <= one + 1 || !first.substr(two + 1).starts_with("HTTP/1.")) return request;
  request.method = first.substr(0, one);
  request.target = first.substr(one + 1, two - one - 1);
  request.last = first.ends_with("1.0");
  request.sound = true;
  head.remove_prefix(std::min(head.size(), first.size() + 2));
  while (!head.empty()) {
    const std::size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    const std::size_t colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    const std::string_view value =
        colon == std::string_view::npos ? std::string_view{} : trimmed(line.substr(colon + 1));
    if (same_word(name, "Connection")) {
      request.last = same_word(value, "close") || (request.last && !same_word(value, "keep-alive"));
    } else if (same_word(name, "Content-Length")) {
      const auto length = number(value);
      request.sound = request.sound && length.has_value();
      request.body_bytes = length.value_or(0);
    } else if (same_word(name, "Transfer-Encoding")) {
      request.sound = false;  // a test client knows how much it sends
    }
    if (end == std::string_view::npos) break;
    head.remove_prefix(end + 2);
  }
  return request;
}

}  // namespace

void TestBackend::refuse(std::uint32_t slot) {
  Guest& guest = guests_[slot];
  ++counts_.refused;
  ::shutdown(guest.socket.number(), SHUT_RDWR);
  guest.phase = Phase::closing;  // whoever called looks whether the kernel owes anything
}

void TestBackend::take_answer_requests(std::uint32_t slot, std::span<const std::byte> bytes) {
  Guest& guest = guests_[slot];
  while (!bytes.empty()) {
    if (guest.skipped == 0) {
      const std::size_t wanted = std::min<std::size_t>(answer_head_bytes - guest.inbox_used, bytes.size());
      std::memcpy(inbox(slot).data() + guest.inbox_used, bytes.data(), wanted);
      guest.inbox_used += static_cast<std::uint32_t>(wanted);
      bytes = bytes.subspan(wanted);
      if (guest.inbox_used < answer_head_bytes) return;
      guest.inbox_used = 0;
      const std::uint32_t length = little_endian(inbox(slot));
      guest.promised = little_endian(inbox(slot).subspan(4));
      if (length < answer_head_bytes) return refuse(slot);
      guest.skipped = length - answer_head_bytes;
    } else {
      const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(guest.skipped, bytes.size()));
      guest.skipped -= taken;
      bytes = bytes.subspan(taken);
    }
    if (guest.skipped == 0) {
      ++counts_.requests;
      guest.owed += guest.promised;
    }
  }
  send_owed(slot);
}

void TestBackend::take_http_requests(std::uint32_t slot, std::span<const std::byte> bytes) {
  Guest& guest = guests_[slot];
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!text.empty() && guest.phase == Phase::open) {
    if (guest.skipped > 0) {
      const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(guest.skipped, text.size()));
      guest.skipped -= taken;
      text.remove_prefix(taken);
      continue;
    }
    const bool busy = guest.owed + guest.head_left > 0;
    const std::size_t end = busy || guest.inbox_used > 0 ? std::string_view::npos : text.find("\r\n\r\n");
    if (end != std::string_view::npos) {
      if (!answer_http(slot, text.substr(0, end))) return refuse(slot);
      text.remove_prefix(end + 4);
      continue;
    }
    if (text.size() > inbox_bytes - guest.inbox_used) return refuse(slot);  // no client of ours sends such heads
    std::memcpy(inbox(slot).data() + guest.inbox_used, text.data(), text.size());
    guest.inbox_used += static_cast<std::uint32_t>(text.size());
    text = {};
    if (!busy) read_http_inbox(slot);
  }
}

void TestBackend::read_http_inbox(std::uint32_t slot) {
  Guest& guest = guests_[slot];
  const std::string_view text(reinterpret_cast<const char*>(inbox(slot).data()), guest.inbox_used);
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) return;
  if (!answer_http(slot, text.substr(0, end))) return refuse(slot);
  std::size_t used = end + 4;
  const auto body = static_cast<std::size_t>(std::min<std::uint64_t>(guest.skipped, text.size() - used));
  guest.skipped -= body;
  used += body;
  guest.inbox_used -= static_cast<std::uint32_t>(used);
  std::memmove(inbox(slot).data(), inbox(slot).data() + used, guest.inbox_used);
}

bool TestBackend::answer_http(std::uint32_t slot, std::string_view head) {
  Guest& guest = guests_[slot];
  const HttpRequest request = read_head(head);
  if (!request.sound) return false;
  ++counts_.requests;
  guest.skipped = request.body_bytes;
  guest.last = guest.last || request.last;
  const std::string_view digits = request.target.substr(1, request.target.find('?') - 1);
  const std::uint64_t body = number(digits).value_or(plan_.body_bytes);
  const auto box = outbox(slot);
  const auto written = fmt::format_to_n(box.begin(), box.size(),
                                        "HTTP/1.1 200 OK\r\nServer: usher-bench\r\nContent-Type: text/plain\r\n"
                                        "Content-Length: {}\r\n{}\r\n",
                                        body, guest.last ? "Connection: close\r\n" : "");
  guest.head_left = static_cast<std::uint32_t>(written.size);
  guest.owed = request.method == "HEAD" ? 0 : body;
  if (guest.owed > 0 && guest.owed <= box.size() - guest.head_left) {  // small bodies go in the same packet
    std::fill_n(box.begin() + guest.head_left, guest.owed, 'x');
    guest.head_left += static_cast<std::uint32_t>(guest.owed);
    guest.owed = 0;
  }
  send_owed(slot);
  return true;
}

}  // namespace usher::load
