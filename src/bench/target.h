// BenchTarget: where load goes, as it was typed: HOST:PORT, or a URL.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"

namespace usher::bench {

struct BenchTarget {
  std::string host;  ///< a name or an address, without brackets
  std::uint16_t port = 0;
  std::string path;  ///< http: "/" and what follows, without a fragment

  /// "HOST:PORT", the host of IPv6 in brackets.
  [[nodiscard]] std::string text() const;
};

/// "HOST:PORT", "IP:PORT", "[IP6]:PORT".
Result<BenchTarget> parse_address(std::string_view text);
/// "http://HOST[:PORT][/PATH]"; port 80 where none is said.
Result<BenchTarget> parse_url(std::string_view text);

/// Of the addresses that getaddrinfo(3) gives the first that accepts a connection (only tried where there are several),
/// or the first. Blocks while names are looked up.
Result<Endpoint> resolve(const BenchTarget& target);

}  // namespace usher::bench
