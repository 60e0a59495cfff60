// Errors as values: the texts.
#include "usher/base/error.h"

#include <cstring>

#include <fmt/format.h>

namespace usher {

std::string errno_name(int code) {
  const char* symbol = strerrorname_np(code);
  return symbol != nullptr ? std::string(symbol) : fmt::format("errno {}", code);
}

Error system_error(std::string_view what, int code) {
  const char* text = strerrordesc_np(code);
  return Error{fmt::format("{}: {}", what, text != nullptr ? std::string(text) : fmt::format("errno {}", code)), code};
}

}  // namespace usher
