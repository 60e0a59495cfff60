// Outcome: how a session ended. One enum drives the counter, the log word, the API and the tests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace usher {

enum class Outcome : std::uint8_t {
  served,            ///< both directions finished with a FIN
  no_backend,        ///< the picker had no candidate
  dial_refused,      ///< every candidate failed to connect, the last by an error
  dial_timeout,      ///< every candidate failed to connect, the last by connect_timeout
  client_gone,       ///< the client reset the connection, or left before a backend was found
  backend_gone,      ///< the backend reset the connection
  idle,              ///< idle_timeout or half_close_timeout
  lifetime,          ///< max_lifetime
  shed,              ///< a limit of connections, descriptors or memory
  denied,            ///< allow, deny or trusted_proxies
  rate_limited,      ///< rate_limit
  bad_proxy_header,  ///< accept_proxy_protocol = "required", and what came was none
  bad_client_hello,  ///< routes by server name, and what came was no ClientHello
  queue_timeout,     ///< waited in the pool's queue for too long
  drained,           ///< closed at drain_timeout, or its backend was disabled
  internal,          ///< usher's own fault; always a bug
};
inline constexpr std::size_t outcome_count = 16;

[[nodiscard]] std::string_view name(Outcome outcome) noexcept;

}  // namespace usher
