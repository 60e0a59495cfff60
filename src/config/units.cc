// Units: durations and sizes, parsed and printed.
#include "usher/config/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "config/words.h"

namespace usher {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 5> duration_units{
    {{"h", 3'600'000'000'000}, {"m", 60'000'000'000}, {"s", 1'000'000'000}, {"ms", 1'000'000}, {"us", 1'000}}};
constexpr std::array<Unit, 9> size_units{{{"B", 1},
                                          {"KiB", 1ULL << 10},
                                          {"MiB", 1ULL << 20},
                                          {"GiB", 1ULL << 30},
                                          {"TiB", 1ULL << 40},
                                          {"kB", 1'000},
                                          {"MB", 1'000'000},
                                          {"GB", 1'000'000'000},
                                          {"TB", 1'000'000'000'000}}};
constexpr std::uint64_t duration_ns_max = 1'000'000ULL * 3'600'000'000'000ULL;
constexpr std::uint64_t size_bytes_max = 1ULL << 62;

/// The leading digits and what follows them; none when there are no digits or too many.
std::optional<std::pair<std::uint64_t, std::string_view>> split(std::string_view text) {
  std::uint64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [rest, status] = std::from_chars(text.data(), end, count);
  if (status != std::errc{}) return std::nullopt;
  return std::pair{count, std::string_view(rest, static_cast<std::size_t>(end - rest))};
}

std::optional<std::uint64_t> times(std::uint64_t count, std::uint64_t factor, std::uint64_t max) {
  if (count > max / factor) return std::nullopt;
  return count * factor;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const auto parts = split(text);
  if (parts) {
    for (const Unit& unit : duration_units) {
      if (unit.name != parts->second) continue;
      if (const auto ns = times(parts->first, unit.factor, duration_ns_max)) {
        return Duration(static_cast<Duration::rep>(*ns));
      }
    }
  }
  return fail(
      fmt::format("{} is not a duration; expected a number and a unit (us, ms, s, m, h), such as \"250ms\" or \"2s\"",
                  quoted(text)));
}

Result<std::uint64_t> parse_size(std::string_view text) {
  const auto parts = split(text);
  if (parts) {
    if (parts->second.empty() && parts->first <= size_bytes_max) return parts->first;
    for (const Unit& unit : size_units) {
      if (unit.name != parts->second) continue;
      if (const auto bytes = times(parts->first, unit.factor, size_bytes_max)) return *bytes;
    }
  }
  return fail(fmt::format("{} is not a size; expected a number of bytes or a number and a unit, such as \"64KiB\"",
                          quoted(text)));
}

std::string duration_text(Duration duration) {
  const auto ns = static_cast<std::uint64_t>(duration.count() < 0 ? 0 : duration.count());
  if (ns == 0) return "0s";
  for (const Unit& unit : duration_units) {
    if (ns % unit.factor == 0) return fmt::format("{}{}", ns / unit.factor, unit.name);
  }
  return fmt::format("{}us", ns / 1'000);
}

}  // namespace usher
