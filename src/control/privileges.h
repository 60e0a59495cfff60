// Privileges: becoming an ordinary user once everything is bound, with what a reload still needs.
#pragma once

#include "control/capabilities.h"
#include "usher/base/error.h"
#include "usher/config/config.h"

namespace usher {

/// What the control thread keeps when it becomes global.user: a reload binds ports and steers their connections, and where the file asks for the
/// kernel datapath, or `left` says that an earlier usher left one, its programs are loaded, attached and taken off by that user. Pure.
[[nodiscard]] Capabilities kept_for(const Config& config, bool left);

/// Becomes global.user, where the file names one: user, group and supplementary groups of the whole process (setresuid(2), initgroups(3); glibc
/// carries it to every thread). The calling thread keeps kept_for() of the capabilities that it has; the others, and threads that others start,
/// keep none. The admin socket, and the folder in which the kernel datapath is pinned, become that user's. REQUIRES: called by the thread that
/// reloads. The error says which step failed; the caller must not go on after one.
Result<void> drop_privileges(const Config& config);

}  // namespace usher
