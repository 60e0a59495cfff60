// The keys of [pool.health].
#include <algorithm>
#include <charconv>
#include <chrono>

#include "config/schema.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr DurationLimits check_limits{10ms, 24h};
constexpr std::int64_t streak_max = 1000;
constexpr std::size_t text_bytes_max = 4096;
constexpr std::size_t body_bytes_max = std::size_t{64} << 10;  // what is read of a body

void read_type(const Value& value, HealthOptions& health) {
  // tcp first: it is what is offered in place of the types that aren't built yet
  constexpr Word<CheckType> words[] = {
      {"tcp", CheckType::tcp},    {"none", CheckType::none},  {"http", CheckType::http},
      {"https", std::nullopt},    {"exchange", std::nullopt}, {"redis", std::nullopt},
      {"postgres", std::nullopt}, {"mysql", std::nullopt},    {"exec", std::nullopt}};
  assign(health.type, value.word<CheckType>(words));
}

bool visible(char c) { return c > 0x20 && c < 0x7f; }

void read_method(const Value& value, HealthOptions& health) {
  const auto method = value.text();
  if (!method) return;
  const bool well_formed = !method->empty() && method->size() <= 16 &&
                           std::ranges::all_of(*method, [](char c) { return c >= 'A' && c <= 'Z'; });
  if (!well_formed) {
    value.wrong("is not an HTTP method", "write it in capitals, such as \"GET\" or \"HEAD\"");
    return;
  }
  health.method = *method;
}

void read_path(const Value& value, HealthOptions& health) {
  const auto path = value.text();
  if (!path) return;
  if (!path->starts_with('/') || path->size() > text_bytes_max || !std::ranges::all_of(*path, visible)) {
    value.wrong("is not an HTTP path", "it starts with '/', has no blanks, and other bytes are written %XX");
    return;
  }
  health.path = *path;
}

void read_host(const Value& value, HealthOptions& health) {
  const auto host = value.text();
  if (!host) return;
  if (host->size() > text_bytes_max || !std::ranges::all_of(*host, visible)) {
    value.wrong("is not a host", "write it as an HTTP Host header has it, such as \"app.example.org\"");
    return;
  }
  health.host = *host;
}

std::optional<std::uint16_t> status_code(std::string_view text) {
  std::uint16_t code = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), code);
  const bool whole = text.size() == 3 && status == std::errc{} && end == text.data() + text.size();
  return whole && code >= 100 && code <= 599 ? std::optional(code) : std::nullopt;
}

std::optional<std::vector<StatusRange>> status_ranges(std::string_view text) {
  std::vector<StatusRange> ranges;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    const std::size_t dash = part.find('-');
    const auto low = status_code(part.substr(0, dash));
    const auto high = dash == std::string_view::npos ? low : status_code(part.substr(dash + 1));
    if (!low || !high || *low > *high) return std::nullopt;
    ranges.push_back({*low, *high});
    if (comma == std::string_view::npos) return ranges;
    text.remove_prefix(comma + 1);
  }
}

void read_expect_status(const Value& value, HealthOptions& health) {
  const auto text = value.text();
  if (!text) return;
  auto ranges = status_ranges(*text);
  if (!ranges) {
    value.wrong("is not a list of status codes",
                "write codes from 100 to 599 and ranges, such as \"200-399\" or \"200,204\"");
    return;
  }
  health.expect_status = *std::move(ranges);
}

void read_expect_body(const Value& value, HealthOptions& health) {
  const auto body = value.raw_text();
  if (!body) return;
  if (body->size() > body_bytes_max) {
    value.wrong("is longer than the 64 KiB of the body that are read", "expect less");
    return;
  }
  health.expect_body = *body;
}

/// Keys of checks that aren't built: they have no default that means off.
void read_other_check(const Value& value, HealthOptions&) {
  value.report().error(value.node().at, value.path() + " is not supported yet",
                       "leave it out; supported are the types none, tcp and http");
}

constexpr Key<HealthOptions> health_keys[] = {
    {"type", read_type},
    {"interval", [](const Value& v, HealthOptions& h) { assign(h.interval, v.duration(check_limits)); }},
    {"fast_interval", [](const Value& v, HealthOptions& h) { assign(h.fast_interval, v.duration(check_limits)); }},
    {"timeout", [](const Value& v, HealthOptions& h) { assign(h.timeout, v.duration(check_limits)); }},
    {"rise",
     [](const Value& v, HealthOptions& h) {
       assign(h.rise, v.integer({1, streak_max}));
     }},
    {"fall",
     [](const Value& v, HealthOptions& h) {
       assign(h.fall, v.integer({1, streak_max}));
     }},
    {"port",
     [](const Value& v, HealthOptions& h) {
       assign(h.port, v.integer({0, 65535}));
     }},
    {"method", read_method},
    {"path", read_path},
    {"host", read_host},
    {"expect_status", read_expect_status},
    {"expect_body", read_expect_body},
    {"send", read_other_check},
    {"expect", read_other_check},
    {"role", read_other_check},
    {"password_file", read_other_check},
    {"user", read_other_check},
    {"database", read_other_check},
    {"command", read_other_check},
};

}  // namespace

std::vector<Section> health_sections() { return {section<HealthOptions>("pool.health", "[pool.health]", health_keys)}; }

void read_health(const Value& value, HealthOptions& into) { read_keys<HealthOptions>(value, health_keys, into); }

}  // namespace usher
