// Compares two reports.
#include "bench/run_modes.h"

namespace usher::bench {

int run_compare_mode(const BenchArguments&) { return exit_done; }

}  // namespace usher::bench
