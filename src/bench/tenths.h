// Tenths: what the latency was in each tenth of a run, so that one hiccup of the machine isn't taken for a tail.
#pragma once

#include <optional>
#include <vector>

#include "usher/load/report.h"

namespace usher::bench {

/// The 99th percentile of each tenth of the time that was whole, in seconds; nothing where it rests on too few
/// requests.
std::vector<std::optional<double>> p99_by_tenths(const load::RunReport& counted);

/// The middle one, or the mean of the two in the middle. REQUIRES values.
double median(std::vector<double> values);

}  // namespace usher::bench
