// What usher-bench does once it knows what: run load, serve, compare. Each returns the exit status.
#pragma once

#include <atomic>

#include "bench/arguments.h"

namespace usher::bench {

/// Set by SIGINT and SIGTERM from watch_signals() on.
extern std::atomic<int> signals_seen;
void watch_signals();

/// Raises the soft limit of open files to the hard one, and answers what it is now.
std::uint64_t raise_open_files();

int run_load_mode(BenchArguments arguments);
int run_serve_mode(const BenchArguments& arguments);
int run_compare_mode(const BenchArguments& arguments);

/// One line on stderr: "usher-bench: SENTENCE".
void complain(const std::string& sentence);
/// All of it to stdout. False where stdout is gone or full.
bool print(const std::string& text);

}  // namespace usher::bench
