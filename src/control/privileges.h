// Privileges: becoming an ordinary user once everything is bound.
#pragma once

#include <string>

#include "usher/base/error.h"

namespace usher {

/// Changes user, group and supplementary groups of the whole process (setresuid(2), initgroups(3)); glibc carries it to every
/// thread. "" does nothing. The
/// admin socket, where there is one, becomes that user's. The error says which step failed; the caller must not go on after one.
Result<void> become_user(const std::string& user, const std::string& admin_socket);

}  // namespace usher
