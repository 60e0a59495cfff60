// What `usher check` says about a parsed file.
#pragma once

#include <string>

#include "cli/answer.h"
#include "usher/config/config.h"

namespace usher::cli {

/// Every problem on stderr; "FILE: ok: ..." on stdout where nothing is wrong (warnings alone are fine). Exit 0 or 2.
/// Pure.
Answer check_answer(const std::string& file, const Parsed& parsed);

/// Every problem's text, a line or two each.
std::string problem_lines(const Parsed& parsed);

}  // namespace usher::cli
