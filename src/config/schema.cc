// Schema: what is said about tables and keys as such.
#include "config/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "config/words.h"

namespace usher {
namespace {

const Section* section_at(std::string_view path) {
  const auto found = std::ranges::find(sections(), path, &Section::path);
  return found == sections().end() ? nullptr : &*found;
}

std::string_view heading_of(const Value& table) {
  const Section* section = section_at(table.path());
  return section == nullptr ? std::string_view(table.path()) : section->heading;
}

std::string unknown_key_hint(const Section* here, std::string_view key) {
  std::vector<std::string_view> homes;
  for (const Section& section : sections()) {
    if (std::ranges::find(section.keys, key) != section.keys.end()) homes.push_back(section.heading);
  }
  if (here == nullptr) return {};
  const std::string_view meant = nearest(key, here->keys);
  if (homes.empty() && !meant.empty()) return fmt::format("did you mean {}?", meant);
  if (!homes.empty()) return fmt::format("{} belongs in {}", key, fmt::join(homes, ", "));
  return fmt::format("known keys: {}", fmt::join(here->keys, ", "));
}

void check_keys(const Value& table) {
  const Section* section = section_at(table.path());
  if (section == nullptr || table.node().kind != Kind::table) return;
  for (const Member& member : table.node().members) {
    if (std::ranges::find(section->keys, member.key) == section->keys.end()) report_unknown_key(table, member);
  }
}

}  // namespace

const std::vector<Section>& sections() {
  static const std::vector<Section> all = [] {
    std::vector<Section> sections;
    for (auto&& part : {root_sections(), global_sections(), listener_sections(), pool_sections(), health_sections()}) {
      sections.insert(sections.end(), part.begin(), part.end());
    }
    return sections;
  }();
  return all;
}

std::vector<std::string> config_keys() {
  std::vector<std::string> keys;
  for (const Section& section : sections()) {
    for (const std::string_view key : section.keys) {
      const std::string path = section.path.empty() ? std::string(key) : fmt::format("{}.{}", section.path, key);
      if (section_at(path) == nullptr) keys.push_back(path);
    }
  }
  return keys;
}

bool expect_table(const Value& value) {
  if (value.node().kind == Kind::table) return true;
  value.wrong_kind("a table", fmt::format("write {} on a line of its own, and its keys below", heading_of(value)));
  return false;
}

std::vector<Value> expect_tables(const Value& value) {
  std::vector<Value> tables;
  if (value.node().kind != Kind::list) {
    value.wrong_kind("an array of tables",
                     fmt::format("there may be several, so write {} in double brackets", heading_of(value)));
    return tables;
  }
  for (const Node& node : value.node().items) tables.push_back(value.item(node));
  return tables;
}

void report_unknown_key(const Value& table, const Member& member) {
  table.report().error(member.at, fmt::format("unknown key {} in {}", quoted(member.key), heading_of(table)),
                       unknown_key_hint(section_at(table.path()), member.key));
}

void report_missing_key(const Value& table, std::string_view key, std::string_view example) {
  table.report().error(table.node().at, fmt::format("{} has no {}", heading_of(table), key),
                       fmt::format("add {}", example));
}

void refuse_table(const Value& value) {
  value.report().error(value.node().at, fmt::format("{} is not supported yet", heading_of(value)), "leave it out");
  check_keys(value);
  for (const Node& item : value.node().items) check_keys(value.item(item));
}

}  // namespace usher
