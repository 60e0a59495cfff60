// Words: how diagnostics quote what stood in the file, and how they guess what was meant.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace usher {

/// In double quotes, control characters escaped, cut after 80 bytes: safe to print, whatever stood in the file. `text`
/// is valid UTF-8, and so is the answer.
std::string quoted(std::string_view text);
/// Without quotes, everything but printable ASCII escaped, cut after 160 bytes: for text that may not be UTF-8.
std::string ascii(std::string_view text);

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The word that was most likely meant, or "" when none is near. Case, '_', '-' and '.' don't count; a beginning is
/// near.
std::string_view nearest(std::string_view written, std::span<const std::string_view> words);

}  // namespace usher
