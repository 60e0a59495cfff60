// KillSchedule: which backend is down at which second.
#include "cli/demo_schedule.h"

namespace usher::cli {

std::optional<KillStep> KillSchedule::due(Duration elapsed) {
  if (elapsed < kill_interval * static_cast<Duration::rep>(steps_done_ + 1)) return std::nullopt;
  const std::uint64_t step = steps_done_++;
  return KillStep{step % 2 == 0 ? KillAct::kill : KillAct::revive, static_cast<std::size_t>(step / 2 % backends_)};
}

}  // namespace usher::cli
