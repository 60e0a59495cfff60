// Secrets: found as they stand, or not shown at all.
#include "control/secrets.h"

namespace usher {

std::string without_secret(std::string text, std::string_view secret) {
  if (secret.empty()) return text;
  constexpr std::string_view hidden = "(hidden)";
  bool found = false;
  for (std::size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at + hidden.size())) {
    text.replace(at, secret.size(), hidden);
    found = true;
  }
  return found ? text : "# not shown: it holds a secret that is written with escapes\n";
}

}  // namespace usher
