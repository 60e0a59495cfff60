// Tallies: the workers' sheets summed up, less what a reused id had counted before.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "usher/metrics/counters.h"
#include "usher/metrics/exposition.h"

namespace usher {

using Sheets = std::vector<std::unique_ptr<Sheet>>;

struct BackendTally {
  BackendTotals totals;
  HistogramTotals connect_duration;
  BackendTally& operator-=(const BackendTally& base) noexcept;
};

/// Names and what isn't in a sheet are left empty. Readers need no lock.
BackendTally sum_backend(const Sheets& sheets, std::uint32_t id) noexcept;
ListenerTotals sum_listener(const Sheets& sheets, std::uint32_t id) noexcept;
void subtract(ListenerTotals& totals, const ListenerTotals& base) noexcept;

}  // namespace usher
