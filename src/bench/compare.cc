// Comparison: reading reports, the table, and Welch's test of the rates.
#include "bench/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "bench/tenths.h"
#include "bench/words.h"

namespace usher::bench {
namespace {

using Json = nlohmann::json;
using Unit = ComparedReport::Row::Unit;
using Shown = ComparedReport::Row::Shown;

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
/// Student's t at 99 %, two-sided, for the few degrees of freedom that ten slices leave (about 9); a little strict for
/// more.
constexpr double t_limit = 3.25;
/// Fewer tenths of a run tell nothing.
constexpr std::size_t slices_min = 5;

struct Field {
  const char* label;
  const char* pointer;  ///< RFC 6901
  Unit unit;
  Shown shown = Shown::where_either_has_it;
};
constexpr Field fields[] = {
    {"requests /s", "/per_second/requests", Unit::per_second},
    {"connects /s", "/per_second/connects", Unit::per_second},
    {"sent /s", "/per_second/bytes_sent", Unit::bytes_per_second},
    {"received /s", "/per_second/bytes_received", Unit::bytes_per_second},
    {"latency mean", "/latency/mean", Unit::seconds},
    {"latency p50", "/latency/p50", Unit::seconds},
    {"latency p90", "/latency/p90", Unit::seconds},
    {"latency p99", "/latency/p99", Unit::seconds},
    {"p99 median tenth", "/slices_p99", Unit::seconds, Shown::where_both_have_it},
    {"latency p99.9", "/latency/p999", Unit::seconds},
    {"latency max", "/latency/max", Unit::seconds},
    {"connect p50", "/connect_latency/p50", Unit::seconds},
    {"connect p99", "/connect_latency/p99", Unit::seconds},
    {"errors", "/errors/total", Unit::count},
    {"late sends", "/late_sends", Unit::count},
    {"held", "/idle/held", Unit::count},
    {"own CPU share", "/busy_share", Unit::share},
};

/// The median of a list of numbers, all of them known and enough.
double median_of(const Json& list) {
  const auto known = [](const Json& value) { return value.is_number(); };
  return list.size() >= slices_min && std::ranges::all_of(list, known) ? median(list.get<std::vector<double>>())
                                                                       : unknown;
}

double number_at(const Json& object, const char* pointer) {
  const Json::json_pointer place(pointer);
  // contains() says no where a parent is null, as "latency" is where nothing was measured.
  if (!object.contains(place)) return unknown;
  const Json& value = object.at(place);
  return value.is_array() ? median_of(value) : value.is_number() ? value.get<double>() : unknown;
}

std::string value_text(double value, Unit unit) {
  if (std::isnan(value)) return "-";
  switch (unit) {
    case Unit::per_second:
      return rate_text(value);
    case Unit::bytes_per_second:
      return bytes_text(value);
    case Unit::seconds:
      return seconds_text(value);
    case Unit::count:
      return count_text(static_cast<std::uint64_t>(value));
    case Unit::share:
      return fmt::format("{:.0f} %", value * 100);
  }
  return "-";
}

struct Moments {
  double mean = 0;
  double variance_of_mean = 0;
};

Moments moments_of(const std::vector<double>& values) {
  Moments found;
  for (const double value : values) found.mean += value / static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - found.mean) * (value - found.mean);
  found.variance_of_mean = squares / static_cast<double>(values.size() - 1) / static_cast<double>(values.size());
  return found;
}

std::string rate_sentence(const ComparedReport& a, const ComparedReport& b) {
  if (std::min(a.slices_per_second.size(), b.slices_per_second.size()) < slices_min) {
    return "rate: too short a run to say whether the difference is more than chance";
  }
  const Moments first = moments_of(a.slices_per_second);
  const Moments second = moments_of(b.slices_per_second);
  const double spread = t_limit * std::sqrt(first.variance_of_mean + second.variance_of_mean);
  const double difference = second.mean - first.mean;
  if (first.mean <= 0) return "rate: A has none";
  const double percent = difference / first.mean * 100;
  const double percent_spread = spread / first.mean * 100;
  if (std::abs(difference) > spread) {
    return fmt::format("rate: B differs from A by {:+.1f} %, beyond how much the two wavered ({:.1f} %)", percent,
                       percent_spread);
  }
  return fmt::format("rate: {:+.1f} % is within how much the two wavered ({:.1f} %)", percent, percent_spread);
}

}  // namespace

Result<ComparedReport> read_report(const std::string& name, std::string_view json) {
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object() || object.value("tool", Json()) != "usher-bench") {
    return fail(fmt::format("{} is no report of usher-bench; --json writes one", name));
  }
  ComparedReport report{.name = name, .title = "", .rows = {}, .slices_per_second = {}};
  const auto text_at = [&](const char* key) {
    return object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : std::string("?");
  };
  const double rate = number_at(object, "/rate");
  report.title = fmt::format("{} {}, connections {}, threads {}, {}", text_at("mode"),
                             text_at("url") != "?" ? text_at("url") : text_at("target"),
                             value_text(number_at(object, "/connections"), Unit::count),
                             value_text(number_at(object, "/threads"), Unit::count),
                             std::isnan(rate) ? "closed loop" : fmt::format("open loop at {} /s", rate_text(rate)));
  for (const Field& field : fields)
    report.rows.push_back({field.label, number_at(object, field.pointer), field.unit, field.shown});
  if (object.contains("slices_per_second") && object["slices_per_second"].is_array()) {
    for (const Json& value : object["slices_per_second"]) {
      if (value.is_number()) report.slices_per_second.push_back(value.get<double>());
    }
  }
  return report;
}

std::string comparison_table(const ComparedReport& a, const ComparedReport& b) {
  std::string text = fmt::format("A  {}: {}\nB  {}: {}\n", a.name, a.title, b.name, b.title);
  if (a.title != b.title) text += "note: the two weren't asked for the same\n";
  text += fmt::format("\n{:<16}{:>14}{:>14}{:>10}\n", "", "A", "B", "B / A");
  for (std::size_t i = 0; i < a.rows.size(); ++i) {
    const double first = a.rows[i].value;
    const double second = b.rows[i].value;
    const auto absent = [](double value) { return std::isnan(value) || value == 0; };
    const bool either = !absent(first) || !absent(second) || a.rows[i].label == "errors";
    const bool both = !absent(first) && !absent(second);
    const bool shown = a.rows[i].shown == Shown::where_both_have_it ? both : either;
    if (!shown) continue;
    const bool ratio = !std::isnan(second) && first > 0;
    text += fmt::format("{:<16}{:>14}{:>14}{:>10}\n", a.rows[i].label, value_text(first, a.rows[i].unit),
                        value_text(second, a.rows[i].unit), ratio ? fmt::format("{:.3f}", second / first) : "-");
  }
  text += "\n" + rate_sentence(a, b) + "\n";
  text += "latencies: one run each can't say how much they waver; compare several, in turns\n";
  return text;
}

}  // namespace usher::bench
