// Answer: what a verb says and how it ends, as a value, so that tests read it without a process.
#pragma once

#include <string>
#include <utility>

namespace usher::cli {

inline constexpr int exit_done = 0;
inline constexpr int exit_refused = 1;
inline constexpr int exit_usage = 2;

struct Answer {
  int status = exit_done;
  std::string out;  ///< for stdout, with its newline
  std::string err;  ///< for stderr, with its newline
};

inline Answer refused(const std::string& why) { return {exit_refused, "", "usher: " + why + "\n"}; }

}  // namespace usher::cli
