// The command line: usher's verbs.
#pragma once

namespace usher {

/// Everything main() does. Exit status: 0 done, 1 refused or failed, 2 usage or invalid configuration.
int run_command_line(int argc, char** argv);

}  // namespace usher
