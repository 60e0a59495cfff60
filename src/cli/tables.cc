// Tables, with nlohmann's library; what it throws ends here.
#include "cli/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/text.h"

namespace usher::cli {
namespace {

using Json = nlohmann::json;

constexpr const char* unknown = "-";

/// A scalar as text; what is missing, null, empty or of another type is "-".
std::string field(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return unknown;
  if (found->is_string()) {
    const auto& text = found->get_ref<const std::string&>();
    return text.empty() ? unknown : safe_text(text);
  }
  if (found->is_boolean()) return found->get<bool>() ? "yes" : "no";
  return found->is_number() ? found->dump() : unknown;
}

std::string seconds_field(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? duration_text(found->get<double>()) : unknown;
}

std::string size_field(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? size_text(found->get<std::uint64_t>()) : unknown;
}

/// The sum of an object's numbers: {"refused": 2, "timeout": 1} is 3.
std::string sum_field(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) return unknown;
  std::uint64_t sum = 0;
  for (const auto& [name, value] : found->items()) {
    if (value.is_number_unsigned()) sum += value.get<std::uint64_t>();
  }
  return std::to_string(sum);
}

std::string joined_field(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array() || found->empty()) return unknown;
  std::string joined;
  for (const Json& item : *found) {
    if (!joined.empty()) joined += ", ";
    joined += item.is_string() ? safe_text(item.get_ref<const std::string&>()) : item.dump();
  }
  return joined;
}

/// The rows of {"KEY": [{...}, ...]}.
Result<Json> rows_of(std::string_view text, const char* key) {
  const Json parsed = Json::parse(text, nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object()) return fail("usher's answer is not the JSON that was expected");
  const auto found = parsed.find(key);
  if (found == parsed.end() || !found->is_array()) return fail(fmt::format("usher's answer has no list \"{}\"", key));
  if (!std::ranges::all_of(*found, [](const Json& row) { return row.is_object(); })) {
    return fail(fmt::format("usher's answer has something odd in \"{}\"", key));
  }
  return *found;
}

template <typename RowOf>
Result<std::string> list_table(std::string_view text, const char* key, const std::vector<Column>& columns,
                               RowOf row_of) {
  const Result<Json> found = rows_of(text, key);
  if (!found) return std::unexpected(found.error());
  std::vector<std::vector<std::string>> rows;
  for (const Json& row : *found) rows.push_back(row_of(row));
  return render_table(columns, rows);
}

/// What the proxy counts and, where there is some, what the kernel datapath does.
std::string with_kernel(const Json& row, const char* key) {
  const auto own = row.find(key);
  const auto kernel = row.find("kernel");
  if (own == row.end() || !own->is_number_unsigned() || kernel == row.end() || !kernel->is_object()) return field(row, key);
  const auto beside = kernel->find(key);
  const bool known = beside != kernel->end() && beside->is_number_unsigned();
  return std::to_string(own->get<std::uint64_t>() + (known ? beside->get<std::uint64_t>() : 0));
}

std::string kernel_field(const Json& row, const char* key) {
  const auto kernel = row.find("kernel");
  return kernel != row.end() && kernel->is_object() ? field(*kernel, key) : unknown;
}

/// Packets to or from a backend that were sent again, SYNs included.
std::string sent_again(const Json& row) {
  const auto kernel = row.find("kernel");
  if (kernel == row.end() || !kernel->is_object()) return unknown;
  std::uint64_t sum = 0;
  for (const char* const key : {"retransmits", "syn_retransmits"}) {
    if (const auto count = kernel->find(key); count != kernel->end() && count->is_number_unsigned()) sum += count->get<std::uint64_t>();
  }
  return std::to_string(sum);
}

std::string backend_state(const Json& row) { return field(row, "removed") == "yes" ? "removed" : field(row, "intent"); }

}  // namespace

std::string render_table(const std::vector<Column>& columns, const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const Column& column : columns) widths.push_back(text_width(column.title));
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < columns.size() && i < row.size(); ++i)
      widths[i] = std::max(widths[i], text_width(row[i]));
  }
  const auto line = [&](auto cell_at) {
    std::string out;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string cell = cell_at(i);
      const std::string fill(widths[i] - text_width(cell), ' ');
      if (i > 0) out += "  ";
      out += columns[i].align == Align::right ? fill + cell : cell + fill;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    return out + "\n";
  };
  std::string table = line([&](std::size_t i) { return columns[i].title; });
  for (const auto& row : rows) table += line([&](std::size_t i) { return i < row.size() ? row[i] : std::string(); });
  return table;
}

Result<std::string> status_table(std::string_view text) {
  const Json status = Json::parse(text, nullptr, false);
  if (status.is_discarded() || !status.is_object()) return fail("usher's answer is not the JSON that was expected");
  const auto of = [&](const char* key) { return field(status, key); };
  std::vector<std::pair<const char*, std::string>> lines = {
      {"usher", fmt::format("{}, pid {}, {}", of("version"), of("pid"), of("phase"))},
      {"up", fmt::format("{}, since {}", seconds_field(status, "uptime"), of("started"))},
      {"configuration", of("config_file")},
      {"reloaded", of("reloaded") == unknown ? "never" : of("reloaded")},
  };
  if (of("last_reload_error") != unknown) lines.emplace_back("last reload", "refused: " + of("last_reload_error"));
  lines.emplace_back("workers", fmt::format("{}, steering: {}", of("workers"), of("steering")));
  if (of("kernel_counters") != unknown) lines.emplace_back("counters", of("kernel_counters"));
  lines.emplace_back("connections", fmt::format("{} active of {}, {} accepted", of("connections_active"),
                                                of("connections_max"), of("connections_accepted")));
  lines.emplace_back("descriptors", fmt::format("{} open of {}", of("descriptors_open"), of("descriptors_max")));
  lines.emplace_back("listeners", of("listeners"));
  lines.emplace_back("backends", fmt::format("{} ready of {}, in {} pool{}", of("backends_ready"), of("backends"),
                                             of("pools"), of("pools") == "1" ? "" : "s"));
  std::string out;
  for (const auto& [name, value] : lines) out += fmt::format("{:<13}  {}\n", name, value);
  return out;
}

Result<std::string> listeners_table(std::string_view json) {
  const std::vector<Column> columns = {{"LISTENER"},
                                       {"BIND"},
                                       {"POOL"},
                                       {"DATAPATH"},
                                       {"READY"},
                                       {"ACTIVE", Align::right},
                                       {"ACCEPTED", Align::right},
                                       {"CLOSED", Align::right},
                                       {"IN", Align::right},
                                       {"OUT", Align::right}};
  return list_table(json, "listeners", columns, [](const Json& row) -> std::vector<std::string> {
    return {field(row, "name"),
            joined_field(row, "bind"),
            field(row, "pool"),
            field(row, "datapath"),
            field(row, "ready"),
            with_kernel(row, "active"),
            with_kernel(row, "accepted"),
            sum_field(row, "closed"),
            size_field(row, "bytes_in"),
            size_field(row, "bytes_out")};
  });
}

Result<std::string> backends_table(std::string_view json) {
  const Result<Json> found = rows_of(json, "backends");
  if (!found) return std::unexpected(found.error());
  const bool kernel_counts = std::ranges::any_of(*found, [](const Json& row) { return kernel_field(row, "flows") != unknown; });
  std::vector<Column> columns = {{"BACKEND"},
                                 {"ADDRESS"},
                                 {"STATE"},
                                 {"HEALTH"},
                                 {"READY"},
                                 {"WEIGHT", Align::right},
                                 {"TIER", Align::right},
                                 {"ACTIVE", Align::right},
                                 {"TOTAL", Align::right},
                                 {"FAILED", Align::right},
                                 {"CONNECT", Align::right},
                                 {"FLIPS", Align::right}};
  if (kernel_counts) columns.insert(columns.end(), {{"FLOWS", Align::right}, {"RETRANS", Align::right}});
  columns.push_back({"LAST CHECK"});
  return list_table(json, "backends", columns, [kernel_counts](const Json& row) {
    std::vector<std::string> cells = {field(row, "pool") + "/" + field(row, "name"),
                                      field(row, "address"),
                                      backend_state(row),
                                      field(row, "health"),
                                      field(row, "ready"),
                                      field(row, "weight"),
                                      field(row, "tier"),
                                      field(row, "active"),
                                      field(row, "connections"),
                                      sum_field(row, "connect_failures"),
                                      seconds_field(row, "connect_latency"),
                                      field(row, "flips")};
    if (kernel_counts) cells.insert(cells.end(), {kernel_field(row, "flows"), sent_again(row)});
    cells.push_back(field(row, "health_reason"));
    return cells;
  });
}

Result<std::string> connections_table(std::string_view json) {
  const std::vector<Column> columns = {{"CLIENT"},
                                       {"LISTENER"},
                                       {"BACKEND"},
                                       {"STAGE"},
                                       {"AGE", Align::right},
                                       {"IDLE", Align::right},
                                       {"IN", Align::right},
                                       {"OUT", Align::right},
                                       {"WORKER", Align::right}};
  return list_table(json, "connections", columns, [](const Json& row) -> std::vector<std::string> {
    const std::string backend = field(row, "backend");
    return {field(row, "client"),
            field(row, "listener"),
            backend == unknown ? backend : field(row, "pool") + "/" + backend,
            field(row, "stage"),
            seconds_field(row, "age"),
            seconds_field(row, "idle"),
            size_field(row, "bytes_in"),
            size_field(row, "bytes_out"),
            field(row, "worker")};
  });
}

Result<std::string> events_table(std::string_view json) {
  return list_table(json, "events", {{"TIME"}, {"KIND"}, {"SUBJECT"}, {"WHAT"}},
                    [](const Json& row) -> std::vector<std::string> {
                      return {field(row, "at"), field(row, "kind"), field(row, "subject"), field(row, "message")};
                    });
}

}  // namespace usher::cli
