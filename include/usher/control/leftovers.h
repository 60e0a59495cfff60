// Leftovers: what a usher that was killed left in the kernel.
#pragma once

#include <string>

#include "usher/base/error.h"
#include "usher/config/config.h"

namespace usher {

/// Detaches and unpins the kernel datapath of an usher with this configuration; the flows in it end. Answers what was done, or that there was
/// nothing, in a sentence. The error says why not: such an usher runs, or privilege is missing.
Result<std::string> remove_leftovers(const Config& config);

}  // namespace usher
