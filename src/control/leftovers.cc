// Leftovers: the kernel datapath's pins are all that outlives a usher.
#include "usher/control/leftovers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "control/kernel_datapath.h"
#include "usher/steer/kernel_path.h"

namespace usher {

Result<std::string> remove_leftovers(const Config& config) {
  const std::string folder = kernel_pin_folder(config.admin);
  if (!kernel_path_is_left(folder)) {
    const auto filtered = interfaces_with_filters(folder);
    if (filtered.empty()) return fmt::format("nothing was left in {}", folder);
    // No lock says whether who attached it still runs.
    return fail(fmt::format("nothing was pinned, but on {0} there is a filter of an usher with this admin socket; where none runs, "
                            "\"tc filter del dev {1} ingress prio {2}\" takes it away",
                            fmt::join(filtered, ", "), filtered.front(), filter_priority));
  }
  auto removed = remove_kernel_path(folder);
  if (removed || removed.error().code != EWOULDBLOCK) return removed;
  return std::unexpected(Error{removed.error().message + "; stop it first, it leaves nothing behind", EWOULDBLOCK});
}

}  // namespace usher
