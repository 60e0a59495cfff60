// The doctor verb's words.
#pragma once

#include <string>
#include <vector>

#include "cli/answer.h"
#include "cli/arguments.h"
#include "usher/control/doctor.h"

namespace usher::cli {

/// A line a finding, the cure below it where there is one; or JSON. Exit status 1 where something is missing that is needed. Pure.
Answer findings_answer(const std::vector<Finding>& findings, Output output);
/// Looks at this host, and at the file where one is given; a file that can't be used is status 2.
Answer doctor_answer(const Arguments& arguments);

}  // namespace usher::cli
