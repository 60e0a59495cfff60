// Words: quoting and guessing.
#include "config/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace usher {
namespace {

constexpr std::size_t shown_bytes_max = 80;
constexpr std::size_t ascii_bytes_max = 160;
constexpr std::size_t guessed_bytes_max = 64;  // longer words are no typing mistake, and the distance costs a * b
constexpr std::size_t beginning_bytes_min = 3;

void append_escaped(std::string& out, unsigned char byte) {
  switch (byte) {
    case '\n':
      out += "\\n";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\r':
      out += "\\r";
      return;
    default:
      out += fmt::format("\\x{:02x}", byte);
  }
}

bool continues_codepoint(char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U; }

std::string_view cut(std::string_view text) {
  if (text.size() <= shown_bytes_max) return text;
  std::size_t end = shown_bytes_max;
  while (end > 0 && continues_codepoint(text[end])) --end;
  return text.substr(0, end);
}

std::string plain(std::string_view word) {
  std::string out;
  for (const char c : word) {
    if (c == '_' || c == '-' || c == '.') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

}  // namespace

std::string quoted(std::string_view text) {
  const std::string_view shown = cut(text);
  std::string out = "\"";
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const auto byte = static_cast<unsigned char>(shown[i]);
    // C1 controls (U+0080 to U+009F) are two bytes in UTF-8, and terminals obey them
    const bool c1 = byte == 0xc2 && i + 1 < shown.size() && static_cast<unsigned char>(shown[i + 1]) < 0xa0;
    if (c1) {
      append_escaped(out, static_cast<unsigned char>(shown[++i]));
    } else if (byte < 0x20 || byte == 0x7f) {
      append_escaped(out, byte);
    } else {
      out += shown[i];
    }
  }
  if (shown.size() < text.size()) out += "...";
  return out + '"';
}

std::string ascii(std::string_view text) {
  const std::string_view shown = text.substr(0, ascii_bytes_max);
  std::string out;
  for (const char c : shown) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) {
      append_escaped(out, byte);
    } else {
      out += c;
    }
  }
  if (shown.size() < text.size()) out += "...";
  return out;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> cells((a.size() + 1) * width);
  const auto cell = [&](std::size_t i, std::size_t j) -> std::size_t& { return cells[i * width + j]; };
  for (std::size_t i = 0; i <= a.size(); ++i) cell(i, 0) = i;
  for (std::size_t j = 0; j <= b.size(); ++j) cell(0, j) = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = cell(i - 1, j - 1) + (a[i - 1] == b[j - 1] ? 0 : 1);
      cell(i, j) = std::min({cell(i - 1, j) + 1, cell(i, j - 1) + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cell(i, j) = std::min(cell(i, j), cell(i - 2, j - 2) + 1);
    }
  }
  return cell(a.size(), b.size());
}

std::string_view nearest(std::string_view written, std::span<const std::string_view> words) {
  if (written.size() > guessed_bytes_max) return {};
  const std::string meant = plain(written);
  std::string_view best;
  std::size_t best_distance = guessed_bytes_max;
  for (const std::string_view word : words) {
    const std::string known = plain(word);
    const std::size_t shorter = std::min(meant.size(), known.size());
    const bool beginning = shorter >= beginning_bytes_min && (known.starts_with(meant) || meant.starts_with(known));
    std::size_t distance = edit_distance(meant, known);
    if (beginning) distance = std::min<std::size_t>(distance, 1);
    const std::size_t near = std::max<std::size_t>(1, shorter / 3);
    if (distance <= near && shorter > 0 && distance < best_distance) {
      best = word;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace usher
