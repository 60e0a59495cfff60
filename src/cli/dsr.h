// The dsr verb: this host as a backend of direct server return, for as long as it runs in the foreground.
#pragma once

#include "cli/arguments.h"

namespace usher::cli {

/// Until SIGTERM, SIGINT or SIGHUP; then it is detached and says what it has counted. The exit status: 0, or 1 where it couldn't begin.
int run_dsr(const Arguments& arguments);

}  // namespace usher::cli
