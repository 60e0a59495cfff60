// The command line of usher-bench: load, backends to measure against, and comparisons of two reports.
#pragma once

namespace usher {

/// Everything usher-bench's main() does. Exit status: 0 ran without errors, 1 errors (said on stderr), 2 usage.
int run_bench_command_line(int argc, char** argv);

}  // namespace usher
