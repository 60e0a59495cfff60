// Tallies: sums over sheets.
#include "control/tallies.h"

namespace usher {
namespace {

void subtract(HistogramTotals& totals, const HistogramTotals& base) noexcept {
  for (std::size_t i = 0; i < totals.buckets.size(); ++i) totals.buckets[i] -= base.buckets[i];
  totals.sum_ns -= base.sum_ns;
}

}  // namespace

BackendTally& BackendTally::operator-=(const BackendTally& base) noexcept {
  totals.connections -= base.totals.connections;
  for (std::size_t i = 0; i < totals.connect_failures.size(); ++i) totals.connect_failures[i] -= base.totals.connect_failures[i];
  totals.bytes_in -= base.totals.bytes_in;
  totals.bytes_out -= base.totals.bytes_out;
  subtract(connect_duration, base.connect_duration);
  return *this;
}

BackendTally sum_backend(const Sheets& sheets, std::uint32_t id) noexcept {
  BackendTally sum;
  for (const auto& sheet : sheets) {
    const BackendCounters& row = sheet->backend(id);
    sum.totals.connections += row.connections.get();
    for (std::size_t i = 0; i < row.connect_failures.size(); ++i) sum.totals.connect_failures[i] += row.connect_failures[i].get();
    sum.totals.bytes_in += row.bytes_in.get();
    sum.totals.bytes_out += row.bytes_out.get();
    sum.connect_duration.add(row.connect_duration);
  }
  return sum;
}

ListenerTotals sum_listener(const Sheets& sheets, std::uint32_t id) noexcept {
  ListenerTotals sum;
  for (const auto& sheet : sheets) {
    const ListenerCounters& row = sheet->listener(id);
    // Closed before accepted: read in this order, a busy sheet never shows more ends than beginnings.
    for (std::size_t i = 0; i < row.closed.size(); ++i) sum.closed[i] += row.closed[i].get();
    sum.active += row.active.get();
    sum.accepted += row.accepted.get();
    sum.bytes_in += row.bytes_in.get();
    sum.bytes_out += row.bytes_out.get();
    sum.duration.add(row.duration);
  }
  return sum;
}

void subtract(ListenerTotals& totals, const ListenerTotals& base) noexcept {
  for (std::size_t i = 0; i < totals.closed.size(); ++i) totals.closed[i] -= base.closed[i];
  totals.accepted -= base.accepted;
  totals.bytes_in -= base.bytes_in;
  totals.bytes_out -= base.bytes_out;
  subtract(totals.duration, base.duration);
}

}  // namespace usher
