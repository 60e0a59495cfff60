// Notify: what systemd is told, by sd_notify(3). Without NOTIFY_SOCKET every call does nothing.
#pragma once

#include <optional>
#include <string>

#include "usher/base/clock.h"

namespace usher {

/// Called by the control thread. Never waits: what the other end has no room for is sent with the next call. A failed send is
/// logged once, and the service goes on.
void notify_ready(const std::string& status);
void notify_reloading();
void notify_stopping(const std::string& status);
void notify_status(const std::string& status);
void notify_watchdog();

/// How often systemd wants to hear of us (WATCHDOG_USEC, sd_watchdog_enabled(3)), nothing = never.
std::optional<Duration> watchdog_interval();

}  // namespace usher
