// Errors as values: what a caller must handle comes back in a Result.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>

namespace usher {

/// A sentence that says what went wrong, where, and (where it is known) what to do. A value; copy it freely.
struct Error {
  std::string message;
  int code = 0;  ///< errno, or 0 where no system call was involved

  friend bool operator==(const Error&, const Error&) = default;
};

template <typename T>
using Result = std::expected<T, Error>;

/// "WHAT: strerror text", with the code kept. `code` defaults to errno as it is now.
Error system_error(std::string_view what, int code = errno);

/// The symbolic name of an errno ("ECONNREFUSED"), or "errno N".
std::string errno_name(int code);

inline std::unexpected<Error> fail(std::string message) { return std::unexpected(Error{std::move(message), 0}); }
inline std::unexpected<Error> fail_system(std::string_view what, int code = errno) {
  return std::unexpected(system_error(what, code));
}

}  // namespace usher
