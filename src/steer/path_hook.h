// PathHook: a program that meets the packets which come in by one interface, by a tcx link or by a filter of its clsact qdisc.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "steer/path_pins.h"
#include "usher/base/error.h"
#include "usher/steer/kernel_path.h"

namespace usher {

/// Pinned it stays when this is destroyed; else it is taken off then. Not thread safe.
class PathHook {
 public:
  virtual ~PathHook() = default;

  [[nodiscard]] virtual TcWay way() const = 0;
  /// From here on packets meet `program` there; none misses one meanwhile.
  virtual Result<void> replace(const bpf_program& program) = 0;
  /// Takes the program off, and unpins it.
  virtual void detach() = 0;
};

using PathHooks = std::map<std::uint32_t, std::unique_ptr<PathHook>>;  ///< by the interface's index

/// How one usher's hooks are told from another's.
struct HookOwner {
  const PathPins* pins = nullptr;  ///< nobody's: the hook goes with the process
  std::string folder;              ///< its name is the owner's, whether or not anything can be pinned in it
};

/// By a tcx link (Linux 6.6; kernel/bpf/tcx.c), behind those that are there. Where the kernel doesn't know such links, by a direct-action filter
/// (tc-bpf(8)) of a priority behind those that tc(8) chooses by itself, and of a handle that is the owner's. The environment variable
/// USHER_TC_ATTACH=clsact takes the second way at once, for tests.
///
/// A filter stays until it is taken off, whatever becomes of its process: unpinned, and after a kill -9, until an usher of the same folder
/// attaches to that interface again. The clsact qdisc stays, too: empty it costs next to nothing, and nobody can say whether another program
/// is about to use it.
Result<std::unique_ptr<PathHook>> attach_hook(const bpf_program& program, std::uint32_t interface_index, const HookOwner& owner);

/// What is pinned, and still on its interface of this network namespace. The rest is unpinned: a link goes with that, wherever it is; a filter of
/// another network namespace stays there, as only a process in that one could take it off.
PathHooks take_up_hooks(const PathPins& pins);

/// The same of who won't use it: takes everything off, and says from where. REQUIRES: the pins are cleared after that.
Result<std::string> take_hooks_off(const PathPins& pins);

/// "eth0", or "number 7" of an interface that is gone.
std::string interface_name(std::uint32_t index);

}  // namespace usher
