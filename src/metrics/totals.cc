// Totals: one worker's counters, copied and summed.
#include <numeric>

#include "usher/metrics/exposition.h"

namespace usher {

void HistogramTotals::add(const DurationHistogram& histogram) noexcept {
  for (std::size_t i = 0; i < buckets.size(); ++i) buckets[i] += histogram.bucket(i);
  sum_ns += histogram.sum_ns();
}

void HistogramTotals::add(const HistogramTotals& other) noexcept {
  for (std::size_t i = 0; i < buckets.size(); ++i) buckets[i] += other.buckets[i];
  sum_ns += other.sum_ns;
}

std::uint64_t HistogramTotals::count() const noexcept {
  return std::accumulate(buckets.begin(), buckets.end(), std::uint64_t{0});
}

WorkerTotals WorkerTotals::of(std::uint32_t index, const WorkerCounters& counters) noexcept {
  WorkerTotals totals;
  totals.index = index;
  totals.turns = counters.turns.get();
  totals.completions = counters.completions.get();
  totals.operations_submitted = counters.operations_submitted.get();
  totals.operations_completed = counters.operations_completed.get();
  totals.operations_in_flight = counters.operations_in_flight.get();
  totals.stale_completions = counters.stale_completions.get();
  totals.bytes_filled = counters.bytes_filled.get();
  totals.bytes_drained = counters.bytes_drained.get();
  totals.bytes_piped = counters.bytes_piped.get();
  totals.bytes_discarded = counters.bytes_discarded.get();
  totals.pipes_open = counters.pipes_open.get();
  totals.pipes_leased = counters.pipes_leased.get();
  totals.pipes_short = counters.pipes_short.get();
  totals.accept_errors = counters.accept_errors.get();
  totals.sessions = counters.sessions.get();
  return totals;
}

}  // namespace usher
