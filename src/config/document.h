// Document: a TOML text as a tree of plain values with positions, so that no other file knows the TOML library.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace usher {

/// Counted from 1; 0 = the file as a whole.
struct Position {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  friend auto operator<=>(const Position&, const Position&) = default;
};

enum class Kind { table, list, text, integer, real, boolean, date };

struct Member;

/// A value. Only what belongs to its kind is set.
struct Node {
  Kind kind = Kind::table;
  Position at;
  std::string text;
  std::int64_t integer = 0;
  double real = 0;
  bool boolean = false;
  std::vector<Node> items;      ///< of a list
  std::vector<Member> members;  ///< of a table

  /// The value of a table's key; null when there is none, or this is no table.
  [[nodiscard]] const Node* find(std::string_view key) const;
};

/// Where a key's value stands, or the table when it isn't written.
Position where(const Node& table, std::string_view key);

struct Member {
  std::string key;
  Position at;
  Node value;
};

struct SyntaxError {
  Position at;
  std::string message;
  std::string hint;
};

/// The root table, or the first place where the text is no TOML 1.0.
std::expected<Node, SyntaxError> parse_document(std::string_view text);

}  // namespace usher
