// The log: one line an event, never from inside a worker's turn.
#pragma once

#include <string_view>

#include <fmt/format.h>

#include "usher/base/error.h"

namespace usher {

enum class LogLevel { debug, info, warning, error };
enum class LogFormat { text, json };

/// Sets level and format for the process; stderr is where lines go. Under systemd (JOURNAL_STREAM is set) text lines carry a
/// "<N>" priority prefix (see sd-daemon(3)) instead of a time. Call it before threads start, or again: both are safe.
void configure_log(LogLevel level, LogFormat format);

/// Thread safe; a line is written whole. `room` is the part of usher that speaks ("control", "worker").
void log_line(LogLevel level, std::string_view room, std::string_view message);
[[nodiscard]] bool log_enabled(LogLevel level) noexcept;

template <typename... Args>
void log_debug(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::debug)) log_line(LogLevel::debug, room, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::info)) log_line(LogLevel::info, room, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::warning)) log_line(LogLevel::warning, room, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::error)) log_line(LogLevel::error, room, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace usher
