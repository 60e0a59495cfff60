// Document: the wall around toml++; its exceptions and types stay in this file.
#include "config/document.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>

#include "config/words.h"

namespace usher {
namespace {

constexpr std::size_t document_bytes_max = std::size_t{16} << 20;
// toml++ destroys its tables recursively: a key of 100,000 dots overflows the stack. It bounds nested values itself.
constexpr std::size_t key_dots_max = 64;

Position position(const toml::source_position& at) { return {at.line, at.column}; }

Node convert(const toml::node& source) {
  Node node;
  node.at = position(source.source().begin);
  if (const auto* table = source.as_table()) {
    node.kind = Kind::table;
    for (const auto& [key, value] : *table) {
      node.members.push_back({std::string(key.str()), position(key.source().begin), convert(value)});
    }
    std::ranges::sort(node.members, {}, &Member::at);
  } else if (const auto* list = source.as_array()) {
    node.kind = Kind::list;
    for (const auto& item : *list) node.items.push_back(convert(item));
  } else if (const auto* text = source.as_string()) {
    node.kind = Kind::text;
    node.text = text->get();
  } else if (const auto* integer = source.as_integer()) {
    node.kind = Kind::integer;
    node.integer = integer->get();
  } else if (const auto* real = source.as_floating_point()) {
    node.kind = Kind::real;
    node.real = real->get();
  } else if (const auto* boolean = source.as_boolean()) {
    node.kind = Kind::boolean;
    node.boolean = boolean->get();
  } else {
    node.kind = Kind::date;
  }
  return node;
}

std::string_view line_of(std::string_view text, std::uint32_t number) {
  for (std::uint32_t line = 1; line < number; ++line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find('\n'));
  const std::size_t start = text.find_first_not_of(" \t");
  const std::size_t last = text.find_last_not_of(" \t\r");
  return start == std::string_view::npos ? std::string_view{} : text.substr(start, last - start + 1);
}

/// Where a key has too many parts. Strings count as well: no sane one has so many dots and no comma.
std::optional<Position> too_deep(std::string_view text) {
  Position at{1, 0};
  std::size_t dots = 0;
  bool comment = false;
  for (const char c : text) {
    ++at.column;
    if (c == '\n') {
      at = {at.line + 1, 0};
      dots = 0;
      comment = false;
    } else if (c == '#') {
      comment = true;
    } else if (c == ',' || c == '=') {
      dots = 0;
    } else if (c == '.' && !comment && ++dots > key_dots_max) {
      return at;
    }
  }
  return std::nullopt;
}

SyntaxError from_library(std::string_view text, const toml::parse_error& error) {
  const Position at = position(error.source().begin);
  std::string_view line = line_of(text, at.line);
  if (line.starts_with("token")) line = "token = ...";  // what is said about a file may end in a log
  std::string_view why = error.description();
  constexpr std::string_view opening = "Error while parsing ";
  std::string hint;
  if (why.starts_with(opening)) hint = "in the ";
  if (why.starts_with(opening)) why.remove_prefix(opening.size());
  hint += ascii(why);
  if (line.empty()) return {at, "not valid TOML: the text ends or breaks off here", hint};
  return {at, fmt::format("not valid TOML: {}", ascii(line)), hint};
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  const auto found = std::ranges::find(members, key, &Member::key);
  return found == members.end() ? nullptr : &found->value;
}

Position where(const Node& table, std::string_view key) {
  const Node* value = table.find(key);
  return value == nullptr ? table.at : value->at;
}

std::expected<Node, SyntaxError> parse_document(std::string_view text) {
  if (text.size() > document_bytes_max) {
    return std::unexpected(SyntaxError{
        {}, fmt::format("the file has {} bytes, at most {} are read", text.size(), document_bytes_max), ""});
  }
  if (const auto deep = too_deep(text)) {
    return std::unexpected(SyntaxError{*deep, fmt::format("a key of more than {} parts", key_dots_max), ""});
  }
  try {
    return convert(toml::parse(text));
  } catch (const toml::parse_error& error) {
    return std::unexpected(from_library(text, error));
  }
}

}  // namespace usher
