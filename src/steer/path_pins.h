// PathPins: the folder of a BPF file system in which a kernel datapath's maps and hooks outlive the process that made them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher {

/// A resource: one process has the folder at a time (flock(2)), for as long as this lives. What is in it stays when this goes.
class PathPins {
 public:
  /// Makes the folder where it isn't there; its parent must be in a BPF file system. The error says what is in the way.
  static Result<PathPins> make(const std::string& folder);
  /// The same of a folder that is there.
  static Result<PathPins> take(const std::string& folder);

  /// What is pinned of an interface: its tcx link, which holds the program there, or the program of its filter, which stays by itself.
  enum class HookKind { link, filter };

  struct HookPin {
    std::string path;
    HookKind kind = HookKind::link;
    std::uint32_t interface_index = 0;
    std::uint64_t network = 0;  ///< the network namespace (its inode) in which that interface is
  };

  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  [[nodiscard]] std::string map_path(std::string_view map) const;
  /// A hook of this process's network namespace.
  [[nodiscard]] std::string hook_path(HookKind kind, std::uint32_t interface_index) const;
  [[nodiscard]] std::vector<std::string> maps() const;  ///< paths
  [[nodiscard]] std::vector<HookPin> hooks() const;
  /// Unpins everything, hooks first, and removes the folder, where that is allowed. The error names what stayed.
  Result<void> clear();

 private:
  PathPins(std::string folder, Fd lock) : folder_(std::move(folder)), lock_(std::move(lock)) {}

  std::string folder_;
  Fd lock_;
};

/// The network namespace that this thread is in, by its inode (namespaces(7)); 0 where it can't be told.
std::uint64_t own_network();

}  // namespace usher
