// The check verb's words.
#include "cli/check.h"

#include <fmt/format.h>

#include <string_view>

namespace usher::cli {
namespace {

std::string counted(std::size_t n, std::string_view thing) {
  return fmt::format("{} {}{}", n, thing, n == 1 ? "" : "s");
}

}  // namespace

std::string problem_lines(const Parsed& parsed) {
  std::string lines;
  for (const Diagnostic& problem : parsed.problems) lines += problem.text() + "\n";
  return lines;
}

Answer check_answer(const std::string& file, const Parsed& parsed) {
  Answer answer{exit_done, "", problem_lines(parsed)};
  if (!parsed.config) {
    answer.status = exit_usage;
    return answer;
  }
  std::size_t backends = 0;
  for (const PoolConfig& pool : parsed.config->pools) backends += pool.backends.size();
  answer.out = fmt::format("{}: ok: {}, {}, {}\n", file, counted(parsed.config->listeners.size(), "listener"),
                           counted(parsed.config->pools.size(), "pool"), counted(backends, "backend"));
  return answer;
}

}  // namespace usher::cli
