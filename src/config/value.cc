// Value: the kinds of values, their limits and what is said when they don't fit.
#include "config/value.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "config/words.h"
#include "usher/config/units.h"

namespace usher {
namespace {

constexpr std::size_t name_bytes_max = 63;

std::string_view kind_text(Kind kind) {
  switch (kind) {
    case Kind::table:
      return "a table";
    case Kind::list:
      return "a list";
    case Kind::text:
      return "a string";
    case Kind::integer:
      return "an integer";
    case Kind::real:
      return "a float";
    case Kind::boolean:
      return "a boolean";
    case Kind::date:
      return "a date or time";
  }
  return "";
}

bool named_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

bool control_character(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

std::string equals(const Value& value) {
  const std::string text = shown(value.node());
  return text.empty() ? value.path() : fmt::format("{} = {}", value.path(), text);
}

std::string duration_hint(const Node& node) {
  constexpr std::string_view form = "write a whole number and a unit (us, ms, s, m, h), such as \"250ms\" or \"2s\"";
  if (node.kind == Kind::integer && node.integer >= 0)
    return fmt::format("write the unit as well: \"{}s\"", node.integer);
  if (node.kind != Kind::text || node.text.size() < 2 || node.text.back() != 'd') return std::string(form);
  const std::string_view days(node.text.data(), node.text.size() - 1);
  const bool whole = days.size() <= 4 && std::ranges::all_of(days, [](char c) { return c >= '0' && c <= '9'; });
  return whole ? fmt::format("days are written in hours: \"{}h\"", std::stoi(std::string(days)) * 24)
               : std::string(form);
}

}  // namespace

std::string shown(const Node& node) {
  switch (node.kind) {
    case Kind::text:
      return quoted(node.text);
    case Kind::integer:
      return fmt::format("{}", node.integer);
    case Kind::real:
      return fmt::format("{}", node.real);
    case Kind::boolean:
      return node.boolean ? "true" : "false";
    case Kind::table:
    case Kind::list:
    case Kind::date:
      return "";
  }
  return "";
}

std::string_view Value::key() const noexcept {
  const std::size_t dot = path_.rfind('.');
  return dot == std::string::npos ? std::string_view(path_) : std::string_view(path_).substr(dot + 1);
}

void Value::wrong(std::string_view what, std::string hint) const {
  report_.error(node_.at, fmt::format("{} {}", equals(*this), what), std::move(hint));
}

void Value::wrong_kind(std::string_view expected, std::string hint) const {
  wrong(fmt::format("is {}, expected {}", kind_text(node_.kind), expected), std::move(hint));
}

void Value::not_yet(std::string_view instead) const {
  wrong("is not supported yet", fmt::format("leave it out, or write {} = {}", key(), instead));
}

std::optional<bool> Value::boolean() const {
  if (node_.kind == Kind::boolean) return node_.boolean;
  wrong_kind("true or false");
  return std::nullopt;
}

std::optional<std::int64_t> Value::integer(IntegerLimits limits) const {
  if (node_.kind != Kind::integer) {
    wrong_kind("a whole number", fmt::format("write a number from {} to {}, without quotes", limits.low, limits.high));
    return std::nullopt;
  }
  if (node_.integer < limits.low || node_.integer > limits.high) {
    wrong("is out of range", fmt::format("allowed: {} to {}", limits.low, limits.high));
    return std::nullopt;
  }
  return node_.integer;
}

std::optional<double> Value::real(RealLimits limits) const {
  if (node_.kind != Kind::real && node_.kind != Kind::integer) {
    wrong_kind("a number", fmt::format("write a number from {} to {}, without quotes", limits.low, limits.high));
    return std::nullopt;
  }
  const double number = node_.kind == Kind::real ? node_.real : static_cast<double>(node_.integer);
  if (std::isnan(number) || number < limits.low || number > limits.high) {
    wrong("is out of range", fmt::format("allowed: {} to {}", limits.low, limits.high));
    return std::nullopt;
  }
  return number;
}

std::optional<Duration> Value::duration(DurationLimits limits) const {
  if (node_.kind != Kind::text) {
    wrong_kind("a duration", duration_hint(node_));
    return std::nullopt;
  }
  const auto duration = parse_duration(node_.text);
  if (!duration) {
    wrong("is not a duration", duration_hint(node_));
    return std::nullopt;
  }
  if (*duration < limits.low || *duration > limits.high) {
    wrong("is out of range",
          fmt::format("allowed: \"{}\" to \"{}\"", duration_text(limits.low), duration_text(limits.high)));
    return std::nullopt;
  }
  return *duration;
}

std::optional<std::string> Value::raw_text() const {
  if (node_.kind == Kind::text) return node_.text;
  wrong_kind("a string", node_.kind == Kind::integer ? fmt::format("write it in quotes: \"{}\"", shown(node_)) : "");
  return std::nullopt;
}

std::optional<std::string> Value::text() const {
  auto text = raw_text();
  if (text && std::ranges::any_of(*text, control_character)) {
    wrong("has a control character", "write plain text");
    return std::nullopt;
  }
  return text;
}

std::optional<std::string> Value::name() const {
  auto text = raw_text();
  if (!text) return std::nullopt;
  if (text->empty() || text->size() > name_bytes_max || !std::ranges::all_of(*text, named_character)) {
    wrong("is not a name", fmt::format("a name has 1 to {} of the characters A-Z a-z 0-9 _ . -", name_bytes_max));
    return std::nullopt;
  }
  return text;
}

std::vector<Value> Value::texts(std::string_view expected) const {
  std::vector<Value> texts;
  if (node_.kind == Kind::text) {
    if (text()) texts.push_back(*this);
    return texts;
  }
  if (node_.kind != Kind::list) wrong_kind(expected);
  for (const Node& node : node_.items) {
    if (item(node).text()) texts.push_back(item(node));
  }
  return texts;
}

std::optional<std::size_t> Value::word_index(std::span<const std::string_view> words) const {
  const std::string allowed = fmt::format("allowed: {}", fmt::join(words, ", "));
  if (node_.kind != Kind::text) {
    wrong_kind("a word in quotes", allowed);
    return std::nullopt;
  }
  const auto found = std::ranges::find(words, node_.text);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  const std::string_view meant = nearest(node_.text, words);
  wrong("is not known", meant.empty() ? allowed : fmt::format("did you mean \"{}\"? {}", meant, allowed));
  return std::nullopt;
}

}  // namespace usher
