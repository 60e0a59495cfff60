// Diagnostic: printed for people and for editors that jump to FILE:LINE:COL.
#include "usher/config/diagnostic.h"

#include <fmt/format.h>

#include <string_view>

namespace usher {
namespace {

std::string_view word(Severity severity) {
  switch (severity) {
    case Severity::error:
      return "error";
    case Severity::warning:
      return "warning";
  }
  return "";
}

}  // namespace

std::string Diagnostic::text() const {
  std::string out = fmt::format("{}:{}:{}: {}: {}", file, line, column, word(severity), message);
  if (!hint.empty()) out += fmt::format("\n    hint: {}", hint);
  return out;
}

}  // namespace usher
