// Running usher: builds every part from a configuration, serves until it is told to stop.
#pragma once

#include <functional>
#include <string>

#include "usher/config/config.h"
#include "usher/control/service.h"

namespace usher {

struct RunOptions {
  std::string config_file;  ///< read again on reload; "" = reload is refused (usher demo)
  std::string config_text;
  bool take_signals = true;  ///< SIGTERM, SIGINT, SIGHUP through signalfd(2); block them before any thread starts
  /// Called once with the running service, from the control thread, when every listener listens; what it returns is kept
  /// until the drain is over (the admin server lives there). An error ends the start.
  std::function<Result<std::shared_ptr<void>>(Service&)> on_started;
};

/// Serves in the calling thread, which becomes the control thread. Returns the exit status: 0 after a drain, 1 when it could
/// not start (the reason is logged).
int run_service(const Config& config, const RunOptions& options);

/// Asks the run_service of this process to drain and return, as SIGTERM does. Thread safe, idempotent.
void request_stop();

}  // namespace usher
