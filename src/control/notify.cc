// Notify: the lines of sd_notify(3).
#include "control/notify.h"

#include <systemd/sd-daemon.h>

#include <atomic>

#include <fmt/format.h>

#include "usher/base/log.h"

namespace usher {
namespace {

void send(const std::string& lines) {
  static std::atomic<bool> said{false};
  if (const int status = sd_notify(0, lines.c_str()); status < 0 && !said.exchange(true)) {
    log_warning("control", "{}; systemd won't hear of this service", system_error("sd_notify", -status).message);
  }
}

}  // namespace

void notify_ready(const std::string& status) { send(fmt::format("READY=1\nSTATUS={}", status)); }

void notify_reloading() {
  // Type=notify-reload (systemd 253) wants to know when, by CLOCK_MONOTONIC.
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch());
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", now.count()));
}

void notify_stopping(const std::string& status) { send(fmt::format("STOPPING=1\nSTATUS={}", status)); }
void notify_status(const std::string& status) { send(fmt::format("STATUS={}", status)); }
void notify_watchdog() { send("WATCHDOG=1"); }

std::optional<Duration> watchdog_interval() {
  std::uint64_t microseconds = 0;
  if (sd_watchdog_enabled(0, &microseconds) <= 0 || microseconds == 0) return std::nullopt;
  return std::chrono::microseconds(microseconds);
}

}  // namespace usher
