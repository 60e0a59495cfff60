// Numbers for people.
#include "bench/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace usher::bench {
namespace {

std::string three_digits(double value) {
  // By the text that comes out: 9.996 is "10.0", not "10.00".
  if (value < 9.995) return fmt::format("{:.2f}", value);
  return value < 99.95 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}

}  // namespace

std::string latency_text(Duration latency) {
  const auto ns = static_cast<double>(latency.count());
  if (ns < 999.5) return fmt::format("{:.0f}ns", ns);
  if (ns < 999.5e3) return three_digits(ns / 1e3) + "us";
  if (ns < 999.5e6) return three_digits(ns / 1e6) + "ms";
  return three_digits(ns / 1e9) + "s";
}

std::string seconds_text(double seconds) {
  constexpr double seconds_max = 9e9;  // a report may hold any number, a Duration 292 years
  return latency_text(Duration(static_cast<std::int64_t>(std::clamp(seconds, 0.0, seconds_max) * 1e9)));
}

std::string count_text(std::uint64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string rate_text(double per_second) {
  return per_second < 99.95 ? fmt::format("{:.1f}", per_second)
                            : count_text(static_cast<std::uint64_t>(per_second + 0.5));
}

std::string bytes_text(double bytes) {
  constexpr std::array units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{} {}", three_digits(bytes), units[unit]);
}

}  // namespace usher::bench
