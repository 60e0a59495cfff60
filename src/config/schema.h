// Schema: for every table of the file its keys, each with the function that reads it.
#pragma once

#include <algorithm>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/value.h"
#include "usher/config/config.h"

namespace usher {

template <typename T>
struct Key {
  std::string_view name;
  void (*read)(const Value& value, T& into);
  std::string_view required_example = {};  ///< empty = the key may be left out
};

/// A table's place and keys, without what they read into: for hints and for config_keys().
struct Section {
  std::string_view path;     ///< "pool.health"
  std::string_view heading;  ///< "[pool.health]"
  std::vector<std::string_view> keys;
};

template <typename T>
Section section(std::string_view path, std::string_view heading, std::span<const Key<T>> keys) {
  Section section{path, heading, {}};
  for (const Key<T>& key : keys) section.keys.push_back(key.name);
  return section;
}

/// All of them; built once, thread safe.
const std::vector<Section>& sections();
std::vector<Section> root_sections();
std::vector<Section> global_sections();
std::vector<Section> listener_sections();
std::vector<Section> pool_sections();
std::vector<Section> health_sections();

void read_root(const Value& value, Config& into);
void read_global(const Value& value, GlobalConfig& into);
void read_admin(const Value& value, AdminConfig& into);
void read_listener(const Value& value, ListenerConfig& into);
void read_pool(const Value& value, PoolConfig& into);
void read_health(const Value& value, HealthOptions& into);

/// What only the whole file can tell: names and addresses used twice, references, contradictions. `config` was read
/// from `root`, errors or not.
void check_config(const Node& root, const Config& config, Report& report);

/// False, and reported, when the value is no table.
bool expect_table(const Value& value);
/// The elements of an array of tables; what is no table is reported.
std::vector<Value> expect_tables(const Value& value);
void report_unknown_key(const Value& table, const Member& member);
void report_missing_key(const Value& table, std::string_view key, std::string_view example);
/// A table, or array of tables, that isn't built yet: refused as a whole, its keys checked against the section's.
void refuse_table(const Value& value);

/// Reads a table whose path is a section's; `into` keeps its defaults where the file says nothing.
template <typename T>
void read_keys(const Value& table, std::span<const Key<T>> keys, T& into) {
  if (!expect_table(table)) return;
  for (const Member& member : table.node().members) {
    const auto key = std::ranges::find(keys, std::string_view(member.key), &Key<T>::name);
    if (key == keys.end()) {
      report_unknown_key(table, member);
    } else {
      key->read(table.below(member), into);
    }
  }
  for (const Key<T>& key : keys) {
    if (key.required_example.empty() || table.node().find(key.name) != nullptr) continue;
    report_missing_key(table, key.name, key.required_example);
  }
}

/// Reads an array of tables; `into` gets one element for each of the file's, so that indexes agree even after errors.
template <typename T>
void read_each(const Value& tables, void (*read)(const Value&, T&), std::vector<T>& into) {
  for (const Value& table : expect_tables(tables)) read(table, into.emplace_back());
}

}  // namespace usher
