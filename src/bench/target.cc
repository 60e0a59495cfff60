// BenchTarget: parsing, and the one look-up of its name.
#include "bench/target.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>

#include "usher/base/fd.h"

namespace usher::bench {
namespace {

constexpr std::string_view scheme = "http://";
constexpr int answer_ms_max = 1000;

Result<std::uint16_t> parse_port(std::string_view text, std::string_view whole) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0) {
    return fail(fmt::format("'{}' has no port from 1 to 65535", whole));
  }
  return port;
}

struct HostAndPort {
  std::string_view host;
  std::string_view port;  ///< "" where none was said
};

Result<HostAndPort> split(std::string_view authority, std::string_view whole) {
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos || (close + 1 < authority.size() && authority[close + 1] != ':')) {
      return fail(fmt::format("'{}': an IPv6 address stands in brackets, such as [::1]:80", whole));
    }
    return HostAndPort{authority.substr(1, close - 1), authority.substr(std::min(close + 2, authority.size()))};
  }
  const std::size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos) return HostAndPort{authority, {}};
  if (authority.find(':') != colon)
    return fail(fmt::format("'{}': an IPv6 address stands in brackets, such as [::1]:80", whole));
  return HostAndPort{authority.substr(0, colon), authority.substr(colon + 1)};
}

/// Whether somebody accepts a connection there, within a second.
bool answers(const Endpoint& address) {
  const Fd socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.open()) return false;
  if (::connect(socket.number(), address.data(), address.length()) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd waiting{socket.number(), POLLOUT, 0};
  if (::poll(&waiting, 1, answer_ms_max) != 1) return false;
  int code = 0;
  socklen_t length = sizeof code;
  return ::getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code == 0;
}

}  // namespace

std::string BenchTarget::text() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Result<BenchTarget> parse_address(std::string_view text) {
  if (text.find("://") != std::string_view::npos)
    return fail(fmt::format("'{}' is a URL; this mode wants HOST:PORT", text));
  auto parts = split(text, text);
  if (!parts) return std::unexpected(parts.error());
  if (parts->host.empty() || parts->port.empty()) return fail(fmt::format("'{}' is not of the form HOST:PORT", text));
  const auto port = parse_port(parts->port, text);
  if (!port) return std::unexpected(port.error());
  return BenchTarget{std::string(parts->host), *port, ""};
}

Result<BenchTarget> parse_url(std::string_view text) {
  if (text.starts_with("https://")) return fail(fmt::format("'{}': TLS isn't spoken; measure the http:// side", text));
  if (!text.starts_with(scheme)) return fail(fmt::format("'{}' is not of the form http://HOST:PORT/PATH", text));
  std::string_view rest = text.substr(scheme.size());
  rest = rest.substr(0, rest.find('#'));
  const std::size_t path_at = rest.find_first_of("/?");
  const std::string_view authority = rest.substr(0, path_at);
  std::string path(path_at == std::string_view::npos ? "/" : rest.substr(path_at));
  if (path.front() == '?') path.insert(0, "/");
  if (std::ranges::any_of(path, [](unsigned char c) { return c <= 0x20 || c >= 0x7f; })) {
    return fail(fmt::format("'{}': blanks and other than ASCII stand as %XX in a URL", text));
  }
  if (authority.find('@') != std::string_view::npos) {
    return fail(fmt::format("'{}': a name and password go into --header 'Authorization: ...'", text));
  }
  auto parts = split(authority, text);
  if (!parts) return std::unexpected(parts.error());
  if (parts->host.empty()) return fail(fmt::format("'{}' is not of the form http://HOST:PORT/PATH", text));
  const auto port = parts->port.empty() ? Result<std::uint16_t>(std::uint16_t{80}) : parse_port(parts->port, text);
  if (!port) return std::unexpected(port.error());
  return BenchTarget{std::string(parts->host), *port, std::move(path)};
}

Result<Endpoint> resolve(const BenchTarget& target) {
  if (auto address = Endpoint::parse_ip(target.host, target.port)) return *address;
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(target.host.c_str(), nullptr, &wanted, &found);
  if (status != 0) return fail(fmt::format("can't look up '{}': {}", target.host, ::gai_strerror(status)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  const Endpoint first = Endpoint::from(found->ai_addr, found->ai_addrlen).with_port(target.port);
  if (found->ai_next == nullptr) return first;
  // "localhost" is ::1 and 127.0.0.1, and many a server listens on one of them only.
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const Endpoint address = Endpoint::from(each->ai_addr, each->ai_addrlen).with_port(target.port);
    if (answers(address)) return address;
  }
  return first;
}

}  // namespace usher::bench
