// The table of metrics: each one's name, type, help, and how its samples are read from the totals.
#include "usher/metrics/exposition.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <string>

namespace usher {
namespace {

using Label = prometheus::ClientMetric::Label;

/// Collects the samples of one metric.
class Samples {
 public:
  explicit Samples(prometheus::MetricFamily& family) noexcept : family_(&family) {}

  void number(std::uint64_t value, std::vector<Label> labels = {}) {
    prometheus::ClientMetric sample;
    sample.label = std::move(labels);
    // The serializer reads the member that the family's type names.
    sample.counter.value = sample.gauge.value = static_cast<double>(value);
    family_->metric.push_back(std::move(sample));
  }

  void histogram(const HistogramTotals& totals, std::vector<Label> labels) {
    prometheus::ClientMetric sample;
    sample.label = std::move(labels);
    std::uint64_t below = 0;
    double bound_s = std::chrono::duration<double>(DurationHistogram::first_bound).count();
    for (std::size_t i = 0; i < totals.buckets.size(); ++i, bound_s *= 2) {
      below += totals.buckets[i];
      const bool last = i + 1 == totals.buckets.size();
      sample.histogram.bucket.push_back({below, last ? std::numeric_limits<double>::infinity() : bound_s});
    }
    sample.histogram.sample_count = below;
    sample.histogram.sample_sum = static_cast<double>(totals.sum_ns) * 1e-9;
    family_->metric.push_back(std::move(sample));
  }

  void histogram(const KernelTotals& totals, std::vector<Label> labels) {
    prometheus::ClientMetric sample;
    sample.label = std::move(labels);
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < totals.connect.size(); ++i) {
      below += totals.connect[i];
      const bool last = i + 1 == totals.connect.size();
      const double bound_s = std::chrono::duration<double>(KernelTotals::upper_end(i)).count();
      sample.histogram.bucket.push_back({below, last ? std::numeric_limits<double>::infinity() : bound_s});
    }
    sample.histogram.sample_count = below;
    sample.histogram.sample_sum = totals.connect_seconds_about();
    family_->metric.push_back(std::move(sample));
  }

 private:
  prometheus::MetricFamily* family_;
};

using Write = void (*)(const Totals&, Samples&);
struct Entry {
  MetricDescription description;
  Write write;
};

template <auto Member>
void of_listeners(const Totals& totals, Samples& out) {
  for (const ListenerTotals& listener : totals.listeners) out.number(listener.*Member, {{"listener", listener.name}});
}

template <auto Member>
void of_backends(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) {
    for (const BackendTotals& backend : pool.backends) {
      out.number(static_cast<std::uint64_t>(backend.*Member), {{"pool", pool.name}, {"backend", backend.name}});
    }
  }
}

template <auto Member>
void of_workers(const Totals& totals, Samples& out) {
  for (const WorkerTotals& worker : totals.workers)
    out.number(worker.*Member, {{"worker", std::to_string(worker.index)}});
}

void listener_closed(const Totals& totals, Samples& out) {
  for (const ListenerTotals& listener : totals.listeners) {
    for (std::size_t i = 0; i < outcome_count; ++i) {
      out.number(listener.closed[i],
                 {{"listener", listener.name}, {"outcome", std::string(name(static_cast<Outcome>(i)))}});
    }
  }
}

void listener_bytes(const Totals& totals, Samples& out) {
  for (const ListenerTotals& listener : totals.listeners) {
    out.number(listener.bytes_in, {{"listener", listener.name}, {"direction", "in"}});
    out.number(listener.bytes_out, {{"listener", listener.name}, {"direction", "out"}});
  }
}

void listener_duration(const Totals& totals, Samples& out) {
  for (const ListenerTotals& listener : totals.listeners)
    out.histogram(listener.duration, {{"listener", listener.name}});
}

void listener_datapath(const Totals& totals, Samples& out) {
  for (const ListenerTotals& listener : totals.listeners) {
    out.number(1, {{"listener", listener.name}, {"datapath", listener.datapath}});
  }
}

void backend_connect_failures(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) {
    for (const BackendTotals& backend : pool.backends) {
      for (std::size_t i = 0; i < connect_failure_count; ++i) {
        out.number(backend.connect_failures[i], {{"pool", pool.name},
                                                 {"backend", backend.name},
                                                 {"reason", std::string(name(static_cast<ConnectFailure>(i)))}});
      }
    }
  }
}

void backend_bytes(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) {
    for (const BackendTotals& backend : pool.backends) {
      out.number(backend.bytes_in, {{"pool", pool.name}, {"backend", backend.name}, {"direction", "in"}});
      out.number(backend.bytes_out, {{"pool", pool.name}, {"backend", backend.name}, {"direction", "out"}});
    }
  }
}

void backend_checks(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) {
    for (const BackendTotals& backend : pool.backends) {
      out.number(backend.checks_passed, {{"pool", pool.name}, {"backend", backend.name}, {"result", "passed"}});
      out.number(backend.checks_failed, {{"pool", pool.name}, {"backend", backend.name}, {"result", "failed"}});
    }
  }
}

void pool_connect_duration(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) out.histogram(pool.connect_duration, {{"pool", pool.name}});
}

void pool_queue(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) out.number(pool.queue_length, {{"pool", pool.name}});
}

void pool_size(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) out.number(pool.backends.size(), {{"pool", pool.name}});
}

template <auto Member>
void of_kernel(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) {
    for (const BackendTotals& backend : pool.backends) {
      if (backend.kernel) out.number((*backend.kernel).*Member, {{"pool", pool.name}, {"backend", backend.name}});
    }
  }
}

template <auto In, auto Out>
void of_kernel_directions(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) {
    for (const BackendTotals& backend : pool.backends) {
      if (!backend.kernel) continue;
      out.number((*backend.kernel).*In, {{"pool", pool.name}, {"backend", backend.name}, {"direction", "in"}});
      out.number((*backend.kernel).*Out, {{"pool", pool.name}, {"backend", backend.name}, {"direction", "out"}});
    }
  }
}

void kernel_connect(const Totals& totals, Samples& out) {
  for (const PoolTotals& pool : totals.pools) {
    for (const BackendTotals& backend : pool.backends) {
      if (backend.kernel) out.histogram(*backend.kernel, {{"pool", pool.name}, {"backend", backend.name}});
    }
  }
}

void kernel_flows(const Totals& totals, Samples& out) {
  if (totals.kernel_path) out.number(totals.kernel_path->flows);
}

void kernel_half_open(const Totals& totals, Samples& out) {
  if (totals.kernel_path) out.number(totals.kernel_path->half_open);
}

void kernel_verdicts(const Totals& totals, Samples& out) {
  if (!totals.kernel_path) return;
  for (const auto& [verdict, count] : totals.kernel_path->verdicts) out.number(count, {{"verdict", verdict}});
}

void reloads(const Totals& totals, Samples& out) {
  out.number(totals.reloads_applied, {{"result", "applied"}});
  out.number(totals.reloads_refused, {{"result", "refused"}});
}

void steering(const Totals& totals, Samples& out) { out.number(totals.steering ? 1 : 0); }
void open_descriptors(const Totals& totals, Samples& out) { out.number(totals.open_descriptors); }
void build_info(const Totals& totals, Samples& out) { out.number(1, {{"version", totals.version}}); }

constexpr auto counter = MetricType::counter;
constexpr auto gauge = MetricType::gauge;
constexpr auto histogram = MetricType::histogram;

constexpr auto metrics = std::to_array<Entry>({
    {{"usher_connections_accepted_total", counter, "Connections accepted."}, of_listeners<&ListenerTotals::accepted>},
    {{"usher_connections_active", gauge, "Connections held now."}, of_listeners<&ListenerTotals::active>},
    {{"usher_connections_closed_total", counter, "Connections ended, by outcome."}, listener_closed},
    {{"usher_bytes_total", counter, "Bytes delivered: in = to backends, out = to clients."}, listener_bytes},
    {{"usher_connection_duration_seconds", histogram, "How long connections lasted."}, listener_duration},
    {{"usher_datapath", gauge, "1 for the datapath that the listener took."}, listener_datapath},
    {{"usher_backend_up", gauge, "1 while the backend's health checks say up."}, of_backends<&BackendTotals::up>},
    {{"usher_backend_connections_active", gauge, "Connections that dial or hold the backend now."},
     of_backends<&BackendTotals::active>},
    {{"usher_backend_connections_total", counter, "Connects to the backend that succeeded."},
     of_backends<&BackendTotals::connections>},
    {{"usher_backend_connect_failures_total", counter, "Connects to the backend that failed, by reason."},
     backend_connect_failures},
    {{"usher_backend_bytes_total", counter, "Bytes by backend: in = to it, out = from it."}, backend_bytes},
    {{"usher_backend_health_checks_total", counter, "Health checks done, by result."}, backend_checks},
    {{"usher_backend_flips_total", counter, "How often the backend's health changed."},
     of_backends<&BackendTotals::flips>},
    {{"usher_connect_duration_seconds", histogram, "How long successful connects to the pool's backends took."},
     pool_connect_duration},
    {{"usher_queue_length", gauge, "Connections waiting for a backend with room."}, pool_queue},
    {{"usher_pool_size", gauge, "Backends in the pool."}, pool_size},
    {{"usher_config_reloads_total", counter, "Reloads asked for, by result."}, reloads},
    {{"usher_steering_active", gauge, "1 while eBPF chooses the worker of a new connection."}, steering},
    {{"usher_open_descriptors", gauge, "File descriptors open in the process."}, open_descriptors},
    {{"usher_worker_turns_total", counter, "Turns of the worker's loop."}, of_workers<&WorkerTotals::turns>},
    {{"usher_worker_completions_total", counter, "Completions read from the ring."},
     of_workers<&WorkerTotals::completions>},
    {{"usher_worker_operations_submitted_total", counter, "Ring operations submitted."},
     of_workers<&WorkerTotals::operations_submitted>},
    {{"usher_worker_operations_completed_total", counter, "Ring operations completed."},
     of_workers<&WorkerTotals::operations_completed>},
    {{"usher_worker_operations_in_flight", gauge, "Ring operations that the kernel owes an answer to."},
     of_workers<&WorkerTotals::operations_in_flight>},
    {{"usher_worker_stale_completions_total", counter, "Completions for a slot that had been reused."},
     of_workers<&WorkerTotals::stale_completions>},
    {{"usher_worker_bytes_filled_total", counter, "Bytes read from sockets."}, of_workers<&WorkerTotals::bytes_filled>},
    {{"usher_worker_bytes_drained_total", counter, "Bytes written to sockets."},
     of_workers<&WorkerTotals::bytes_drained>},
    {{"usher_worker_bytes_piped", gauge, "Bytes that rest in pipes now."}, of_workers<&WorkerTotals::bytes_piped>},
    {{"usher_worker_bytes_discarded_total", counter, "Bytes that were in a pipe when their session died."},
     of_workers<&WorkerTotals::bytes_discarded>},
    {{"usher_worker_pipes_open", gauge, "Pipes open."}, of_workers<&WorkerTotals::pipes_open>},
    {{"usher_worker_pipes_leased", gauge, "Pipes in use by a session."}, of_workers<&WorkerTotals::pipes_leased>},
    {{"usher_worker_pipes_short_total", counter, "Turns that found no pipe and copied instead."},
     of_workers<&WorkerTotals::pipes_short>},
    {{"usher_worker_accept_errors_total", counter, "Accepts that failed (EMFILE and its like)."},
     of_workers<&WorkerTotals::accept_errors>},
    {{"usher_worker_sessions", gauge, "Session slots in use."}, of_workers<&WorkerTotals::sessions>},
    {{"usher_worker_steered_total", counter, "Connections that eBPF sent to this worker."},
     of_workers<&WorkerTotals::steered>},
    {{"usher_kernel_connections_total", counter, "Connections to the backend tried, as eBPF counts."},
     of_kernel<&KernelTotals::tried>},
    {{"usher_kernel_established_total", counter, "Of these, such as were established."},
     of_kernel<&KernelTotals::established>},
    {{"usher_kernel_refused_total", counter, "Of these, such as the backend answered with a reset."},
     of_kernel<&KernelTotals::refused>},
    {{"usher_kernel_syn_retransmits_total", counter, "SYNs to the backend that were sent again."},
     of_kernel<&KernelTotals::syn_retransmits>},
    {{"usher_kernel_retransmits_total", counter,
      "Packets sent again; of what the proxy dials, those to the backend, of the kernel datapath both ways."},
     of_kernel<&KernelTotals::retransmits>},
    {{"usher_kernel_resets_total", counter, "Established connections that ended by a reset, of either side."},
     of_kernel<&KernelTotals::resets>},
    {{"usher_kernel_bytes_total", counter,
      "Bytes by backend: of the stream where the proxy dials, of IP packets in the kernel datapath; in = to it, out = from it."},
     of_kernel_directions<&KernelTotals::bytes_in, &KernelTotals::bytes_out>},
    {{"usher_kernel_packets_total", counter, "Packets by backend: in = to it, out = from it."},
     of_kernel_directions<&KernelTotals::packets_in, &KernelTotals::packets_out>},
    {{"usher_kernel_flows_active", gauge, "Flows to the backend that the kernel datapath forwards now."},
     of_kernel<&KernelTotals::flows>},
    {{"usher_kernel_connect_seconds", histogram,
      "From the SYN to the backend to its answer; the sum is reckoned from the buckets."}, kernel_connect},
    {{"usher_kernel_verdicts_total", counter, "How the kernel datapath treated packets."}, kernel_verdicts},
    {{"usher_kernel_flows", gauge, "Flows in the kernel datapath's tables, half-open ones included."}, kernel_flows},
    {{"usher_kernel_half_open", gauge, "Of these, such as have no whole handshake yet."}, kernel_half_open},
    {{"usher_build_info", gauge, "1, with the version as a label."}, build_info},
});

constexpr auto descriptions = [] {
  std::array<MetricDescription, metrics.size()> all{};
  for (std::size_t i = 0; i < metrics.size(); ++i) all[i] = metrics[i].description;
  return all;
}();

prometheus::MetricType to_prometheus(MetricType type) noexcept {
  switch (type) {
    case MetricType::counter:
      return prometheus::MetricType::Counter;
    case MetricType::gauge:
      return prometheus::MetricType::Gauge;
    case MetricType::histogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

}  // namespace

std::span<const MetricDescription> metric_descriptions() noexcept { return descriptions; }

std::string render_prometheus(const Totals& totals) {
  std::vector<prometheus::MetricFamily> families;
  families.reserve(metrics.size());
  for (const Entry& metric : metrics) {
    prometheus::MetricFamily& family = families.emplace_back();
    family.name = metric.description.name;
    family.help = metric.description.help;
    family.type = to_prometheus(metric.description.type);
    Samples samples(family);
    metric.write(totals, samples);
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace usher
