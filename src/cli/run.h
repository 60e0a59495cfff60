// The run verb: a configuration file, served in the foreground.
#pragma once

#include <string>

namespace usher::cli {

/// The exit status: 0 after a drain, 1 where it could not start (in the log), 2 where the file is invalid (on stderr).
int run_in_foreground(const std::string& config_file);

}  // namespace usher::cli
