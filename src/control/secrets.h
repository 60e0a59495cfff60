// Secrets: a configuration's text, fit to be shown.
#pragma once

#include <string>
#include <string_view>

namespace usher {

/// `text` with every occurrence of `secret` replaced by "(hidden)". Where the text holds the secret in a form that can't be
/// found (escapes), nothing of it is shown. An empty secret changes nothing.
std::string without_secret(std::string text, std::string_view secret);

}  // namespace usher
