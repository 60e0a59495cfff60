// Leftovers: the kernel datapath's pins are all that outlives a usher.
#include "usher/control/leftovers.h"

#include <fmt/format.h>

#include "control/kernel_datapath.h"
#include "usher/steer/kernel_path.h"

namespace usher {

Result<std::string> remove_leftovers(const Config& config) {
  const std::string folder = kernel_pin_folder(config.admin);
  if (!kernel_path_is_left(folder)) return fmt::format("nothing was left in {}", folder);
  auto removed = remove_kernel_path(folder);
  if (removed || removed.error().code != EWOULDBLOCK) return removed;
  return std::unexpected(Error{removed.error().message + "; stop it first, it leaves nothing behind", EWOULDBLOCK});
}

}  // namespace usher
