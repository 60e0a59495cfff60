// KillSchedule: when the demo kills a backend by itself, and when that one comes back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "usher/base/clock.h"

namespace usher::cli {

enum class KillAct { kill, revive };

struct KillStep {
  KillAct act = KillAct::kill;
  std::size_t backend = 0;  ///< counts from 0
  friend bool operator==(const KillStep&, const KillStep&) = default;
};

/// Every `kill_interval` one step: the first backend dies at 8 s and is back at 16 s, the second dies at 24 s, and so
/// on.
class KillSchedule {
 public:
  static constexpr Duration kill_interval = std::chrono::seconds(8);

  explicit KillSchedule(std::size_t backends) : backends_(backends) {}
  /// The next step, if its time has come; call it until there is none. Never two dead at once.
  std::optional<KillStep> due(Duration elapsed);

 private:
  std::size_t backends_;
  std::uint64_t steps_done_ = 0;
};

}  // namespace usher::cli
