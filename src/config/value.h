// Value: one value of the file being read as what its key expects; what doesn't fit is reported where it stands.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/document.h"
#include "config/report.h"
#include "usher/base/clock.h"

namespace usher {

struct IntegerLimits {
  std::int64_t low;
  std::int64_t high;
};
struct RealLimits {
  double low;
  double high;
};
struct DurationLimits {
  Duration low;
  Duration high;
};

/// An allowed word and what it means; no meaning = it is known, but not supported yet.
template <typename Enum>
struct Word {
  std::string_view text;
  std::optional<Enum> meaning;
};

/// A view: the node, the report and everything else outlive it. Readers answer nothing after reporting why.
class Value {
 public:
  Value(Report& report, std::string path, const Node& node) : report_(report), path_(std::move(path)), node_(node) {}

  [[nodiscard]] Report& report() const noexcept { return report_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }  ///< "pool.health.interval"
  [[nodiscard]] const Node& node() const noexcept { return node_; }
  [[nodiscard]] std::string_view key() const noexcept;  ///< the path's last part
  [[nodiscard]] Value below(const Member& member) const {
    return {report_, path_.empty() ? member.key : path_ + "." + member.key, member.value};
  }
  [[nodiscard]] Value item(const Node& node) const { return {report_, path_, node}; }

  [[nodiscard]] std::optional<bool> boolean() const;
  [[nodiscard]] std::optional<std::int64_t> integer(IntegerLimits limits) const;
  [[nodiscard]] std::optional<double> real(RealLimits limits) const;
  [[nodiscard]] std::optional<Duration> duration(DurationLimits limits) const;
  /// Any text without control characters.
  [[nodiscard]] std::optional<std::string> text() const;
  /// Any text at all.
  [[nodiscard]] std::optional<std::string> raw_text() const;
  /// A name: [A-Za-z0-9_.-]+ of at most 63 characters.
  [[nodiscard]] std::optional<std::string> name() const;
  /// The texts of a list, or a lone text; items of other kinds are reported and left out.
  [[nodiscard]] std::vector<Value> texts(std::string_view expected) const;
  template <typename Enum>
  [[nodiscard]] std::optional<Enum> word(std::span<const Word<Enum>> words) const;
  /// One of the words, by its index.
  [[nodiscard]] std::optional<std::size_t> word_index(std::span<const std::string_view> words) const;

  /// Error: "PATH = VALUE WHAT".
  void wrong(std::string_view what, std::string hint) const;
  /// Error: "PATH = VALUE is an integer, expected EXPECTED".
  void wrong_kind(std::string_view expected, std::string hint = {}) const;
  /// Error: "PATH = VALUE is not supported yet".
  void not_yet(std::string_view instead) const;

 private:
  Report& report_;
  std::string path_;
  const Node& node_;
};

/// The value as the file has it, for messages: quoted, a number, "true"; "" for lists, tables and dates.
std::string shown(const Node& node);

/// A key whose feature isn't built yet: only its documented default, which means off, is accepted.
template <typename T>
void only_default(const Value& value, const std::optional<T>& written, const T& fallback,
                  std::string_view fallback_text) {
  if (written && *written != fallback) value.not_yet(fallback_text);
}

template <typename To, typename From>
void assign(To& to, std::optional<From>&& from) {
  if (from) to = static_cast<To>(std::move(*from));
}

template <typename Enum>
std::optional<Enum> Value::word(std::span<const Word<Enum>> words) const {
  std::vector<std::string_view> texts;
  std::string_view usual;
  for (const auto& word : words) texts.push_back(word.text);
  const auto index = word_index(texts);
  if (!index) return std::nullopt;
  for (const auto& word : words) {
    if (usual.empty() && word.meaning) usual = word.text;
  }
  if (!words[*index].meaning) not_yet("\"" + std::string(usual) + "\"");
  return words[*index].meaning;
}

}  // namespace usher
