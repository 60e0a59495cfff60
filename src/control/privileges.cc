// Privileges: groups first, user last; afterwards there is no way back.
#include "control/privileges.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "control/kernel_datapath.h"
#include "usher/base/fd.h"
#include "usher/base/log.h"
#include "usher/steer/kernel_path.h"

namespace usher {
namespace {

/// A user and its group: values, where passwd(5) has pointers into a buffer.
struct Account {
  std::string name;
  uid_t user = 0;
  gid_t group = 0;
};

Result<Account> find_account(const std::string& name) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(16384);
  if (const int code = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found); code != 0) {
    return fail_system(fmt::format("global.user: can't look up '{}'", name), code);
  }
  if (found == nullptr) return fail(fmt::format("global.user: there is no user '{}' on this host (getent passwd lists them)", name));
  return Account{name, entry.pw_uid, entry.pw_gid};
}

/// The folder, with what an earlier usher pinned in it, is the account's from here on; so the account unpins what it pins. systemd mounts the
/// file system for root alone: others may pass through it then, though not look around, and what is in there has permissions of its own.
Result<void> lend_pins(const std::string& folder, const Account& account) {
  const std::string parent = std::filesystem::path(folder).parent_path().string();
  if (!on_bpf_file_system(parent)) return {};  // said when the programs are loaded
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail_system(fmt::format("can't make {}", folder));
  const Fd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!opened) return fail_system(fmt::format("can't open {}", folder));
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(folder, error); !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (::fchownat(opened.number(), name.c_str(), account.user, account.group, AT_SYMLINK_NOFOLLOW) != 0) {
      return fail_system(fmt::format("can't give {} to '{}'", it->path().string(), account.name));
    }
  }
  if (::fchown(opened.number(), account.user, account.group) != 0) return fail_system(fmt::format("can't give {} to '{}'", folder, account.name));
  struct stat around {};
  if (::stat(parent.c_str(), &around) != 0) return fail_system(fmt::format("can't look at {}", parent));
  if ((around.st_mode & S_IXOTH) != 0) return {};
  if (::chmod(parent.c_str(), (around.st_mode & 07777) | S_IXOTH) != 0) return fail_system(fmt::format("can't let others pass through {}", parent));
  log_info("control", "global.user: others may pass through {} from here on, so that '{}' reaches {}", parent, account.name, folder);
  return {};
}

Result<void> become(const Account& account, Capabilities kept) {
  if (::initgroups(account.name.c_str(), account.group) != 0) {
    return fail_system(fmt::format("global.user: can't take the groups of '{}'; start usher as root, or leave it empty", account.name));
  }
  if (::setresgid(account.group, account.group, account.group) != 0) return fail_system(fmt::format("global.user: can't become group {}", account.group));
  // The flag is this thread's alone: setresuid(2) takes every capability from the others.
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return fail_system("global.user: can't keep capabilities");
  if (::setresuid(account.user, account.user, account.user) != 0) return fail_system(fmt::format("global.user: can't become '{}'", account.name));
  if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return fail_system("global.user: can't end the keeping of capabilities");
  return keep_capabilities(kept);
}

std::string names_of(Capabilities set) {
  std::vector<std::string_view> names;
  for (const auto& [bit, name] : {std::pair{capability::net_bind_service, "CAP_NET_BIND_SERVICE"}, std::pair{capability::bpf, "CAP_BPF"},
                                  std::pair{capability::net_admin, "CAP_NET_ADMIN"}, std::pair{capability::perfmon, "CAP_PERFMON"}}) {
    if ((set & bit) != 0) names.emplace_back(name);
  }
  return names.empty() ? "no capability" : fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

Capabilities kept_for(const Config& config, bool left) {
  const bool kernel = left || std::ranges::any_of(config.listeners, [](const ListenerConfig& one) { return one.datapath != Datapath::proxy; });
  return capability::net_bind_service | capability::bpf | (kernel ? capability::net_admin | capability::perfmon : Capabilities{0});
}

Result<void> drop_privileges(const Config& config) {
  if (config.global.user.empty()) return {};
  const auto account = find_account(config.global.user);
  if (!account) return std::unexpected(account.error());
  if (::geteuid() == account->user) return {};
  const std::string& socket = config.admin.socket;
  if (!socket.empty() && ::chown(socket.c_str(), account->user, account->group) != 0 && errno != ENOENT) {
    return fail_system(fmt::format("global.user: can't give the admin socket {} to '{}'", socket, account->name));
  }
  const std::string folder = kernel_pin_folder(config.admin);
  const Capabilities kept = kept_for(config, kernel_path_is_left(folder));
  if ((kept & capability::net_admin) != 0) {
    // Without it the kernel datapath serves all the same.
    if (auto lent = lend_pins(folder, *account); !lent) log_warning("control", "global.user: kernel flows won't outlive this process: {}", lent.error().message);
  }
  if (auto became = become(*account, kept); !became) return became;
  log_info("control", "global.user: is '{}' from here on, with {}", account->name, names_of(own_capabilities()));
  return {};
}

}  // namespace usher
