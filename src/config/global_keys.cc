// The keys of [global] and [admin].
#include <algorithm>
#include <chrono>

#include "config/addresses.h"
#include "config/schema.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t workers_max = 1024;
constexpr std::int64_t connections_max = 10'000'000;
constexpr DurationLimits drain_limits{0s, 24h};
constexpr DurationLimits log_interval_limits{0s, 24h};
constexpr std::size_t socket_path_bytes_max = 107;  // sun_path of unix(7), less its terminating zero

constexpr Word<LogLevel> log_levels[] = {
    {"debug", LogLevel::debug}, {"info", LogLevel::info}, {"warning", LogLevel::warning}, {"error", LogLevel::error}};
constexpr Word<LogFormat> log_formats[] = {{"text", LogFormat::text}, {"json", LogFormat::json}};
constexpr Word<Mover> movers[] = {{"inline", Mover::worker}, {"ring", Mover::ring}};

void read_workers(const Value& value, GlobalConfig& global) {
  if (value.node().kind == Kind::text) {
    if (value.node().text == "auto") return;
    value.wrong("is not a number of workers", "write \"auto\", or a number without quotes");
    return;
  }
  assign(global.workers, value.integer({1, workers_max}));
}

void read_access_log(const Value& value, GlobalConfig&) {
  only_default<std::string>(value, value.text(), "off", "\"off\"");
}

constexpr Key<GlobalConfig> global_keys[] = {
    {"workers", read_workers},
    {"max_connections",
     [](const Value& v, GlobalConfig& g) {
       assign(g.max_connections, v.integer({1, connections_max}));
     }},
    {"drain_timeout", [](const Value& v, GlobalConfig& g) { assign(g.drain_timeout, v.duration(drain_limits)); }},
    {"user", [](const Value& v, GlobalConfig& g) { assign(g.user, v.text()); }},
    {"log_level", [](const Value& v, GlobalConfig& g) { assign(g.log_level, v.word<LogLevel>(log_levels)); }},
    {"log_format", [](const Value& v, GlobalConfig& g) { assign(g.log_format, v.word<LogFormat>(log_formats)); }},
    {"access_log", read_access_log},
    {"access_log_interval",
     [](const Value& v, GlobalConfig&) { only_default<Duration>(v, v.duration(log_interval_limits), 0s, "\"0s\""); }},
    {"mover",
     [](const Value& v, GlobalConfig& g) { assign(g.mover, v.word<Mover>(movers)); }},
};

void read_socket(const Value& value, AdminConfig& admin) {
  const auto path = value.text();
  if (!path) return;
  if (path->empty() || path->size() > socket_path_bytes_max) {
    value.wrong("is not a path for a socket", "a socket's path has 1 to 107 bytes");
    return;
  }
  admin.socket = *path;
}

void read_http(const Value& value, AdminConfig& admin) {
  if (value.node().kind != Kind::text) {
    value.wrong_kind("an address", "write \"IP:PORT\", or \"\" to turn it off");
  } else if (value.node().text.empty()) {
    admin.http.clear();
  } else if (const auto endpoint = read_endpoint(value)) {
    admin.http = endpoint->text();
  }
}

void read_token(const Value& value, AdminConfig& admin) {
  // errors without the token itself: what is said about a file may end in a log
  const std::string& token = value.node().text;
  if (value.node().kind != Kind::text) {
    value.report().error(value.node().at, "admin.token is no string", "write it in quotes");
  } else if (!std::ranges::all_of(token, [](char c) { return c > 0x20 && c < 0x7f; })) {
    value.report().error(value.node().at, "admin.token has a character that no HTTP header can carry",
                         "use printable ASCII without blanks");
  } else {
    admin.token = token;
  }
}

constexpr Key<AdminConfig> admin_keys[] = {{"socket", read_socket}, {"http", read_http}, {"token", read_token}};

}  // namespace

std::vector<Section> global_sections() {
  return {section<GlobalConfig>("global", "[global]", global_keys),
          section<AdminConfig>("admin", "[admin]", admin_keys)};
}

void read_global(const Value& value, GlobalConfig& into) { read_keys<GlobalConfig>(value, global_keys, into); }
void read_admin(const Value& value, AdminConfig& into) { read_keys<AdminConfig>(value, admin_keys, into); }

}  // namespace usher
