// usher-bench's entry: each mode to who does it, signals, and what is printed.
#include "usher/bench/bench.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>

#include "bench/run_modes.h"

namespace usher {
namespace bench {

std::atomic<int> signals_seen = 0;

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { signals_seen.fetch_add(1, std::memory_order_relaxed); };
  ::sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second one ends it at once
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

std::uint64_t raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  rlimit raised = limit;
  raised.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

void complain(const std::string& sentence) { std::fputs(("usher-bench: " + sentence + "\n").c_str(), stderr); }

bool print(const std::string& text) {
  std::string_view left = text;
  while (!left.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, left.data(), left.size());
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) left.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace bench

int run_bench_command_line(int argc, char** argv) {
  using namespace bench;
  try {
    const auto arguments = parse_bench_arguments(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    if (!arguments) {
      std::fputs(arguments.error().err.c_str(), stderr);
      return print(arguments.error().out) ? arguments.error().status : exit_failed;
    }
    ::signal(SIGPIPE, SIG_IGN);
    switch (arguments->verb) {
      case BenchVerb::load:
        return run_load_mode(*arguments);
      case BenchVerb::serve:
        return run_serve_mode(*arguments);
      case BenchVerb::compare:
        return run_compare_mode(*arguments);
    }
    return exit_usage;
  } catch (const std::exception& error) {  // out of memory, no thread to be had: what nobody below could handle
    bench::complain(error.what());
    return bench::exit_failed;
  }
}

}  // namespace usher
