// Privileges: groups first, user last; afterwards there is no way back.
#include "control/privileges.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <vector>

#include <fmt/format.h>

namespace usher {

Result<void> become_user(const std::string& user, const std::string& admin_socket) {
  if (user.empty()) return {};
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(16384);
  if (const int code = ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found); code != 0) {
    return fail_system(fmt::format("global.user: can't look up '{}'", user), code);
  }
  if (found == nullptr) return fail(fmt::format("global.user: there is no user '{}' on this host (getent passwd lists them)", user));
  if (::geteuid() == entry.pw_uid) return {};
  if (!admin_socket.empty() && ::chown(admin_socket.c_str(), entry.pw_uid, entry.pw_gid) != 0 && errno != ENOENT) {
    return fail_system(fmt::format("global.user: can't give the admin socket {} to '{}'", admin_socket, user));
  }
  if (::initgroups(user.c_str(), entry.pw_gid) != 0) return fail_system(fmt::format("global.user: can't take the groups of '{}'; start usher as root, or leave it empty", user));
  if (::setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid) != 0) return fail_system(fmt::format("global.user: can't become group {}", entry.pw_gid));
  if (::setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid) != 0) return fail_system(fmt::format("global.user: can't become '{}'", user));
  return {};
}

}  // namespace usher
