// From plain numbers to the Prometheus text format. What a metric is called and means stands in one table.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usher/metrics/counters.h"
#include "usher/metrics/kernel_totals.h"
#include "usher/metrics/outcome.h"

namespace usher {

/// Sums over all workers, taken at one moment; a value.
struct HistogramTotals {
  std::array<std::uint64_t, DurationHistogram::bucket_count> buckets{};
  std::uint64_t sum_ns = 0;
  void add(const DurationHistogram& histogram) noexcept;
  void add(const HistogramTotals& other) noexcept;
  [[nodiscard]] std::uint64_t count() const noexcept;
};

/// What the kernel datapath did for a listener; the listener's own counts are the proxy's.
struct KernelListenerTotals {
  std::uint64_t accepted = 0;  ///< connections established
  std::uint64_t active = 0;    ///< flows now
};

struct ListenerTotals {
  std::string name;
  std::string datapath = "proxy";
  std::uint64_t accepted = 0;
  std::uint64_t active = 0;
  std::array<std::uint64_t, outcome_count> closed{};
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  HistogramTotals duration;
};

struct BackendTotals {
  std::string name;
  bool up = false;
  std::uint64_t active = 0;
  std::uint64_t connections = 0;
  std::array<std::uint64_t, connect_failure_count> connect_failures{};
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t checks_passed = 0;
  std::uint64_t checks_failed = 0;
  std::uint64_t flips = 0;
  std::optional<KernelTotals> kernel;  ///< empty: no eBPF counts
};

struct PoolTotals {
  std::string name;
  std::vector<BackendTotals> backends;
  HistogramTotals connect_duration;
  std::uint64_t queue_length = 0;
};

struct WorkerTotals {
  std::uint32_t index = 0;
  std::uint64_t turns = 0, completions = 0, operations_submitted = 0, operations_completed = 0, operations_in_flight = 0;
  std::uint64_t stale_completions = 0, bytes_filled = 0, bytes_drained = 0, bytes_piped = 0, bytes_discarded = 0;
  std::uint64_t pipes_open = 0, pipes_leased = 0, pipes_short = 0, accept_errors = 0, sessions = 0;
  std::uint64_t steered = 0;  ///< connections that eBPF sent to this worker (0 without it); control fills it in
  static WorkerTotals of(std::uint32_t index, const WorkerCounters& counters) noexcept;
};

/// The kernel datapath as a whole.
struct KernelPathTotals {
  std::uint64_t flows = 0;      ///< in its tables at the last sweep; those of half_open included
  std::uint64_t half_open = 0;  ///< of these, without a whole handshake
  std::vector<std::pair<std::string, std::uint64_t>> verdicts;  ///< how it treated packets, by word
};

struct Totals {
  std::string version;
  std::vector<ListenerTotals> listeners;
  std::vector<PoolTotals> pools;
  std::vector<WorkerTotals> workers;
  std::uint64_t reloads_applied = 0;
  std::uint64_t reloads_refused = 0;
  bool steering = false;  ///< eBPF chooses the worker
  std::uint64_t open_descriptors = 0;
  std::optional<KernelPathTotals> kernel_path;  ///< empty: it was never loaded
};

enum class MetricType { counter, gauge, histogram };
struct MetricDescription {
  std::string_view name;
  MetricType type;
  std::string_view help;
};
/// Every metric there is, in the order in which they are written.
[[nodiscard]] std::span<const MetricDescription> metric_descriptions() noexcept;

/// The text format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). Label values are escaped.
/// Thread safe. REQUIRES: listener names are unique, backend names within a pool (a series that comes twice fails the scrape).
[[nodiscard]] std::string render_prometheus(const Totals& totals);

}  // namespace usher
