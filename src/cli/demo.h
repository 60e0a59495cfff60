// The demo verb: three backends, one usher, a gentle load, and a view of it all, in one process.
#pragma once

#include "cli/arguments.h"

namespace usher::cli {

/// Runs until `arguments.seconds` are over, a signal or the key q. Writes to the terminal. The exit status.
int run_demo(const Arguments& arguments);

}  // namespace usher::cli
