// Diagnostic: one thing wrong in a configuration file, said so that it can be mended.
#pragma once

#include <cstdint>
#include <string>

namespace usher {

enum class Severity { error, warning };

/// A value. `line` and `column` count from 1; 0 = the file as a whole.
struct Diagnostic {
  Severity severity = Severity::error;
  std::string file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  std::string message;  ///< names the key and the offending text
  std::string hint;     ///< what to write instead; may be empty

  /// "FILE:LINE:COL: error: MESSAGE" and, where there is one, "\n    hint: HINT".
  [[nodiscard]] std::string text() const;
  friend bool operator==(const Diagnostic&, const Diagnostic&) = default;
};

}  // namespace usher
