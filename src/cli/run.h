// The run verb: a configuration file, served in the foreground; and what is done after one that was killed.
#pragma once

#include <string>

namespace usher::cli {

/// The exit status: 0 after a drain, 1 where it could not start (in the log), 2 where the file is invalid (on stderr).
int run_in_foreground(const std::string& config_file);

/// Takes away what a usher with this file left in the kernel. The exit status: 0 done, or nothing was there; 1 it can't be; 2 as above.
int clean_up_after(const std::string& config_file);

}  // namespace usher::cli
