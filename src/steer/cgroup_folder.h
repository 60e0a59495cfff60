// Where in the file system the cgroup v2 of a process stands.
#pragma once

#include <string>
#include <string_view>

#include "usher/base/error.h"

namespace usher {

/// From the texts of /proc/PID/cgroup and /proc/PID/mountinfo (cgroups(7), proc_pid_mountinfo(5)). The error says what is missing.
Result<std::string> cgroup_folder(std::string_view cgroup, std::string_view mountinfo);

}  // namespace usher
