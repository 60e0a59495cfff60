// Supervisor, as a Service: what it tells, and what it lets be changed.
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "control/supervisor.h"

namespace usher {
namespace {

constexpr Duration patience = std::chrono::seconds(5);
constexpr Duration reload_patience = std::chrono::seconds(30);
constexpr Duration inspection_patience = std::chrono::seconds(1);

Error busy() { return Error{"the control thread didn't answer in time, or usher is ending", 0}; }

template <typename T>
T answered(std::optional<T> answer) {
  if (!answer) throw ServiceBusy(busy().message);
  return *std::move(answer);
}

std::string_view name(Stage stage) {
  switch (stage) {
    case Stage::greeting: return "greeting";
    case Stage::dialing: return "dialing";
    case Stage::relaying: return "relaying";
    case Stage::closing: return "closing";
  }
  return "closing";
}

}  // namespace

std::string_view name(Phase phase) noexcept {
  switch (phase) {
    case Phase::starting: return "starting";
    case Phase::serving: return "serving";
    case Phase::draining: return "draining";
  }
  return "serving";
}

std::string_view name(Intent intent) noexcept {
  switch (intent) {
    case Intent::enabled: return "enabled";
    case Intent::drain: return "drain";
    case Intent::disabled: return "disabled";
  }
  return "enabled";
}

StatusReport Supervisor::status() {
  return answered(commands_.ask([this] { return report_status(); }, patience));
}
std::vector<ListenerReport> Supervisor::listeners() {
  return answered(commands_.ask([this] {
    kernel_counts_->follow(*world_);
    return report_listeners();
  }, patience));
}
std::vector<BackendReport> Supervisor::backends() {
  return answered(commands_.ask([this] {
    kernel_counts_->follow(*world_);
    return report_backends();
  }, patience));
}
std::vector<ConnectionReport> Supervisor::connections(std::size_t max) {
  return answered(commands_.ask([this, max] { return report_connections(max); }, patience));
}
std::vector<Event> Supervisor::events(std::size_t max) { return events_.newest(max); }
std::string Supervisor::config_text() {
  return answered(commands_.ask([this] { return config_text_; }, patience));
}
Totals Supervisor::totals() {
  return answered(commands_.ask([this] {
    kernel_counts_->follow(*world_);
    return report_totals();
  }, patience));
}
bool Supervisor::ready() {
  return commands_.ask([this] { return ready_here(); }, patience).value_or(false);
}
ReloadReport Supervisor::reload() {
  const auto report = commands_.ask([this] { return reload_here(); }, reload_patience);
  return report ? *report : ReloadReport{.applied = false, .changes = {}, .problems = {busy().message}};
}

Result<void> Supervisor::set_intent(const std::string& pool, const std::string& backend, Intent intent) {
  const auto answer = commands_.ask([=, this]() -> Result<void> {
    if (auto set = world_->set_intent(pool, backend, intent); !set) return set;
    follow_with_the_kernel();
    events_.add(LogLevel::info, "intent", pool + "/" + backend, fmt::format("set to {} by the operator", name(intent)));
    if (intent != Intent::disabled) return {};
    for (const BackendEntry& entry : world_->backends()) {
      if (entry.pool != pool || entry.config.name != backend || entry.removed) continue;
      for (const auto& worker : workers_) worker->close_backend(entry.id);
    }
    return {};
  }, patience);
  return answer ? *answer : std::unexpected(busy());
}

Result<void> Supervisor::set_weight(const std::string& pool, const std::string& backend, std::uint32_t weight) {
  const auto answer = commands_.ask([=, this]() -> Result<void> {
    if (auto set = world_->set_weight(pool, backend, weight); !set) return set;
    publish();
    events_.add(LogLevel::info, "weight", pool + "/" + backend, fmt::format("set to {} by the operator", weight));
    return {};
  }, patience);
  return answer ? *answer : std::unexpected(busy());
}

std::uint64_t Supervisor::accepted_so_far() const {
  std::uint64_t sum = 0;
  for (const auto& sheet : sheets_) {
    for (std::uint32_t id = 0; id < listener_count_max; ++id) sum += sheet->listener(id).accepted.get();
  }
  return sum;
}

bool Supervisor::ready_here() const {
  if (phase_ != Phase::serving) return false;
  return std::ranges::all_of(world_->config().listeners, [&](const ListenerConfig& listener) { return world_->pool_ready(listener.pool); });
}

StatusReport Supervisor::report_status() {
  StatusReport report;
  report.version = USHER_VERSION;
  report.pid = static_cast<std::uint64_t>(::getpid());
  report.phase = phase_;
  report.started = started_wall_;
  report.uptime = Clock::now() - started_;
  report.config_file = options_.config_file;
  report.reloaded = reloaded_;
  report.last_reload_error = last_reload_error_;
  report.workers = limits_.workers;
  report.connections_active = shared_.sessions.load(std::memory_order_relaxed);
  report.connections_max = limits_.sessions_max;
  report.descriptors_open = open_descriptors();
  report.descriptors_max = limits_.descriptors_max;
  report.steering = steering_->describe();
  report.kernel_counters = kernel_counts_->describe();
  report.listeners = static_cast<std::uint32_t>(world_->config().listeners.size());
  report.pools = static_cast<std::uint32_t>(world_->config().pools.size());
  for (const BackendEntry& entry : world_->backends()) {
    if (entry.removed) continue;
    ++report.backends;
    if (shared_.board.ready(entry.id)) ++report.backends_ready;
  }
  report.connections_accepted = accepted_so_far();
  return report;
}

std::vector<ListenerReport> Supervisor::report_listeners() {
  std::vector<ListenerReport> reports;
  for (const ListenerEntry& entry : world_->listeners()) {
    if (entry.removed) continue;
    ListenerReport report;
    report.name = entry.config.name;
    for (const Endpoint& address : entry.config.bind) report.bind.push_back(address.text());
    report.pool = entry.config.pool;
    const KernelDatapath::Choice choice = kernel_->choice(entry.config.name);
    report.datapath = choice.taken == Datapath::kernel ? "kernel" : "proxy";
    report.datapath_reason = choice.reason;
    report.ready = world_->pool_ready(entry.config.pool);
    report.totals = sum_listener(sheets_, entry.id);
    subtract(report.totals, entry.base);
    report.totals.name = entry.config.name;
    report.kernel = kernel_counts_->of_listener(entry.config.name);
    reports.push_back(std::move(report));
  }
  return reports;
}

BackendReport Supervisor::report_backend(const BackendEntry& entry) {
  const BackendCell& cell = shared_.board[entry.id];
  BackendReport report;
  report.pool = entry.pool;
  report.name = entry.config.name;
  report.address = entry.config.address.text();
  report.intent = entry.intent;
  report.ready = !entry.removed && entry.weight() > 0 && shared_.board.ready(entry.id);
  report.weight = entry.weight();
  report.tier = entry.config.tier;
  report.max_connections = entry.config.max_connections;
  report.active = cell.active.load(std::memory_order_relaxed);
  report.connect_latency = Duration(static_cast<std::int64_t>(cell.latency_ns.load(std::memory_order_relaxed)));
  report.removed = entry.removed;
  BackendTally tally = sum_backend(sheets_, entry.id.value);
  tally -= entry.base;
  report.totals = tally.totals;
  report.totals.name = entry.config.name;
  report.totals.up = cell.healthy.load(std::memory_order_relaxed);
  report.totals.active = report.active;
  report.totals.kernel = kernel_counts_->of(entry.id);
  report.health = "unchecked";
  if (entry.checked) {
    const auto state = prober_->state(entry.id);
    report.health = state && state->judged ? (state->up ? "up" : "down") : "checking";
    if (state) {
      report.health_reason = state->reason;
      report.totals.checks_passed = state->passed;
      report.totals.checks_failed = state->failed;
      report.totals.flips = state->flips;
    }
  }
  const std::lock_guard guard(checked_lock_);
  if (const auto since = since_.find(entry.id.value); since != since_.end()) report.since = since->second;
  return report;
}

std::vector<BackendReport> Supervisor::report_backends() {
  std::vector<BackendReport> reports;
  for (const BackendEntry& entry : world_->backends()) reports.push_back(report_backend(entry));
  return reports;
}

std::vector<ConnectionReport> Supervisor::report_connections(std::size_t max) {
  std::vector<ConnectionReport> reports;
  for (const auto& worker : workers_) {
    if (reports.size() >= max) break;
    for (const SessionRow& row : worker->inspect(max - reports.size(), inspection_patience)) {
      ConnectionReport report;
      report.worker = row.worker;
      const auto listener = std::ranges::find(world_->listeners(), row.listener, &ListenerEntry::id);
      if (listener != world_->listeners().end()) report.listener = listener->config.name;
      const auto backend = std::ranges::find(world_->backends(), BackendId{row.backend}, &BackendEntry::id);
      if (backend != world_->backends().end()) {
        report.pool = backend->pool;
        report.backend = backend->config.name;
      }
      report.client = row.client.text();
      report.stage = name(row.stage);
      report.age = row.age;
      report.idle = row.idle;
      report.bytes_in = row.bytes_in;
      report.bytes_out = row.bytes_out;
      reports.push_back(std::move(report));
    }
  }
  return reports;
}

Totals Supervisor::report_totals() {
  Totals totals;
  totals.version = USHER_VERSION;
  for (ListenerReport& report : report_listeners()) totals.listeners.push_back(std::move(report.totals));
  for (const PoolConfig& pool : world_->config().pools) {
    PoolTotals row;
    row.name = pool.name;
    row.connect_duration.add(world_->retired_connects(pool.name));
    for (const BackendEntry& entry : world_->backends()) {
      if (entry.pool != pool.name) continue;
      BackendTally tally = sum_backend(sheets_, entry.id.value);
      tally -= entry.base;
      row.connect_duration.add(tally.connect_duration);
      // A name may stand twice while the last sessions of its former address go on; a label may not.
      if (!entry.removed) row.backends.push_back(report_backend(entry).totals);
    }
    totals.pools.push_back(std::move(row));
  }
  for (std::uint32_t i = 0; i < sheets_.size(); ++i) {
    totals.workers.push_back(WorkerTotals::of(i, sheets_[i]->worker));
    totals.workers.back().steered = steering_->steered_to(i);
  }
  totals.reloads_applied = reloads_applied_;
  totals.reloads_refused = reloads_refused_;
  totals.steering = steering_->active();
  totals.open_descriptors = open_descriptors();
  kernel_counts_->describe_path(totals);
  return totals;
}

}  // namespace usher
