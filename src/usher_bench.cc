// usher-bench: the entry; everything else stands in the bench room.
#include "usher/bench/bench.h"

int main(int argc, char** argv) { return usher::run_bench_command_line(argc, argv); }
