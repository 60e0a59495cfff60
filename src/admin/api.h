// The admin API as a function: a request in, an answer out. Every route, every rule about who may change what; no
// sockets.
#pragma once

#include <string>

#include "usher/control/service.h"

namespace usher {

/// Which door a request came through: the Unix socket is guarded by its file mode, http by the token.
enum class Door { unix_socket, http };

struct ApiRequest {
  std::string method;
  std::string path{};  ///< decoded, without the query
  std::string max{};   ///< the query's max=, or ""
  std::string body{};
  std::string authorization{};  ///< the header of that name, or ""
  std::string host{};           ///< the Host header, or ""
};

struct ApiAnswer {
  int status = 200;
  std::string body{};
  std::string content_type = "application/json";
  std::string allow{};         ///< for 405: the methods that the path knows
  std::string authenticate{};  ///< for 401: WWW-Authenticate
};

/// Who may ask. A value.
struct ApiRules {
  Door door = Door::unix_socket;
  std::string token{};   ///< "" = no changes over http
  std::string socket{};  ///< path of the Unix socket, for hints
  /// A loopback http listener answers only to an address or "localhost": a page that rebinds its own name to 127.0.0.1
  /// would otherwise read everything from the administrator's browser.
  enum class Names { any, local_only } names = Names::any;
};

/// Thread safe as `service` is. Never throws on account of the request; what `service` throws passes through.
[[nodiscard]] ApiAnswer answer(const ApiRequest& request, const ApiRules& rules, Service& service);

/// An error as the API gives it: {"error": sentence}.
[[nodiscard]] ApiAnswer refusal(int status, std::string_view sentence);

/// Compares in a time that depends on the lengths only.
[[nodiscard]] bool same_secret(std::string_view given, std::string_view secret) noexcept;

}  // namespace usher
