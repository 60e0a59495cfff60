// The log, on spdlog: one logger, to stderr.
#include "usher/base/log.h"

#include <time.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace usher {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string_view level_word(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warning: return "warning";
    case LogLevel::error: return "error";
  }
  return "info";
}

/// syslog(3) priorities, as sd-daemon(3) wants them in front of a line.
int priority_of(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug: return 7;
    case LogLevel::info: return 6;
    case LogLevel::warning: return 4;
    case LogLevel::error: return 3;
  }
  return 6;
}

std::atomic<bool> json_lines{false};
std::atomic<bool> journal_lines{false};

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> it = [] {
    auto made = std::make_shared<spdlog::logger>("usher", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *it;
}

std::string json_escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string wall_time() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
                     utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000);
}

}  // namespace

void configure_log(LogLevel level, LogFormat format) {
  json_lines = format == LogFormat::json;
  journal_lines = std::getenv("JOURNAL_STREAM") != nullptr;
  logger().set_level(to_spdlog(level));
}

bool log_enabled(LogLevel level) noexcept { return logger().should_log(to_spdlog(level)); }

void log_line(LogLevel level, std::string_view room, std::string_view message) {
  if (json_lines) {
    logger().log(to_spdlog(level), R"({{"time":"{}","level":"{}","room":"{}","message":"{}"}})", wall_time(), level_word(level),
                 json_escaped(room), json_escaped(message));
  } else if (journal_lines) {
    logger().log(to_spdlog(level), "<{}>{}: {}", priority_of(level), room, message);
  } else {
    logger().log(to_spdlog(level), "{} {:7} {}: {}", wall_time(), level_word(level), room, message);
  }
}

}  // namespace usher
