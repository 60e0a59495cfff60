// Supervisor: start, the control thread's wait, reload, drain.
#include "control/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include <fmt/format.h>

#include "control/notify.h"
#include "control/privileges.h"
#include "usher/base/log.h"

namespace usher {
namespace {

constexpr Duration housekeeping_interval = std::chrono::seconds(1);
/// A shortage is said once, and again only after it has been over for this long.
constexpr Duration shortage_quiet = std::chrono::minutes(1);
/// A start, and a reload that brings a pool of newcomers, waits this long for their first checks.
constexpr Duration first_verdicts_patience = std::chrono::seconds(2);

std::atomic<Supervisor*> running{nullptr};
std::atomic<bool> stop_wanted{false};

std::string counted(std::size_t number, std::string_view noun) { return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s"); }

Result<Fd> take_signals() {
  sigset_t mine;
  sigemptyset(&mine);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2}) sigaddset(&mine, signal);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &mine, nullptr); code != 0) return fail_system("pthread_sigmask", code);
  Fd signals(::signalfd(-1, &mine, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals) return fail_system("signalfd");
  return signals;
}

}  // namespace

Supervisor::Supervisor(const Config& config, const RunOptions& options, Limits limits, Fd wake, Fd signals)
    : options_(options), limits_(std::move(limits)), commands_(std::move(wake)), signals_(std::move(signals)) {
  shared_.sessions_max = limits_.sessions_max;
  config_text_ = without_secret(options.config_text, config.admin.token);
  for (std::uint32_t i = 0; i < limits_.workers; ++i) sheets_.push_back(std::make_unique<Sheet>());
  turns_seen_.resize(limits_.workers);
  steering_ = make_steering(limits_.workers);
  world_ = std::make_unique<World>(shared_, *steering_, sheets_, [this](BackendId id) { return kernel_ ? kernel_->counts(id).active : 0; });
  kernel_ = std::make_unique<KernelDatapath>(shared_.board, kernel_pin_folder(config.admin));
  kernel_counts_ = std::make_unique<KernelCounts>(make_pulse(), *kernel_);
}

Supervisor::~Supervisor() {
  running.store(nullptr);
  commands_.end();
  guest_.reset();
  prober_.reset();  // its verdicts use members that are destroyed before it
}

Result<std::unique_ptr<Supervisor>> Supervisor::build(const Config& config, const RunOptions& options) {
  // splice(2) into a closed socket raises it, whatever flags a socket has.
  ::signal(SIGPIPE, SIG_IGN);
  Fd signals;
  if (options.take_signals) {
    auto taken = take_signals();
    if (!taken) return std::unexpected(taken.error());
    signals = std::move(*taken);
  }
  Fd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake) return fail_system("eventfd");
  std::size_t addresses = 0;
  std::size_t backends = 0;
  for (const ListenerConfig& listener : config.listeners) addresses += listener.bind.size();
  for (const PoolConfig& pool : config.pools) backends += pool.backends.size();
  const std::uint32_t workers = config.global.workers != 0 ? config.global.workers : usable_processors();
  auto limits = divide_descriptors(raise_descriptor_limit(), workers, static_cast<std::uint32_t>(addresses),
                                   static_cast<std::uint32_t>(backends), config.global.max_connections);
  if (!limits) return std::unexpected(limits.error());
  limits->large_pipes_max = share_pipe_pages(pipe_pages_ration(), workers);
  std::unique_ptr<Supervisor> supervisor(new Supervisor(config, options, *limits, std::move(wake), std::move(signals)));
  if (auto started = supervisor->start(config); !started) return std::unexpected(started.error());
  return supervisor;
}

Result<void> Supervisor::start(const Config& config) {
  if (auto applied = world_->apply(config); !applied) return std::unexpected(applied.error());
  std::random_device entropy;
  const std::uint64_t seed = (std::uint64_t{entropy()} << 32) | entropy();
  for (std::uint32_t i = 0; i < limits_.workers; ++i) {
    auto worker = Worker::start(WorkerOptions{.index = i, .pipes_max = limits_.pipes_max,
                                              .large_pipes_max = limits_.large_pipes_max, .mover = config.global.mover,
                                              .seed = mix64(seed + i), .load = steering_->worker_load(i)},
                                shared_, *sheets_[i]);
    if (!worker) return std::unexpected(worker.error());
    workers_.push_back(std::move(*worker));
  }
  std::vector<std::uint32_t> threads;
  for (const auto& worker : workers_) threads.push_back(worker->thread_id());
  kernel_counts_->count_workers(threads);
  auto prober = start_prober([this](BackendId id, const std::string& label, const Flip& flip, bool first) {
    on_verdict(id, label, flip, first);
  }, seed);
  if (!prober) return std::unexpected(prober.error());
  prober_ = std::move(*prober);
  retarget();
  events_.add(LogLevel::info, "start", "", fmt::format("usher {}: {}, {}, up to {}, {} pipes a worker at most", USHER_VERSION,
              counted(config.listeners.size(), "listener"), counted(limits_.workers, "worker"),
              counted(limits_.sessions_max, "session"), limits_.pipes_max));
  log_info("control", "RLIMIT_NOFILE is {}; steering: {}; kernel counters: {}", limits_.descriptors_max, steering_->describe(), kernel_counts_->describe());
  if (!limits_.remark.empty()) events_.add(LogLevel::warning, "warning", "", limits_.remark);
  if (!steering_->active() && limits_.workers > 1) {
    events_.add(LogLevel::warning, "warning", "", fmt::format("no eBPF steering ({}); the kernel's own hash spreads connections over workers", steering_->describe()));
  }
  running.store(this);
  return {};
}

void Supervisor::on_verdict(BackendId id, const std::string& label, const Flip& flip, bool first) {
  {
    const std::lock_guard guard(checked_lock_);
    const auto checked = checked_.find(id.value);
    if (checked == checked_.end() || checked->second != label) return;  // on its way when its backend left, or its checks ended
    shared_.board.set_healthy(id, flip.up);
    since_[id.value] = std::chrono::system_clock::now();
    if (!flip.up) went_down_.push_back(id);
  }
  readiness_changed_ = true;
  commands_.wake();
  events_.add(flip.up ? LogLevel::info : LogLevel::warning, "flip", label,
              fmt::format("{}{}: {}", flip.up ? "up" : "down", first ? " (first check)" : "", flip.reason));
}

void Supervisor::retarget() {
  auto targets = world_->check_targets();
  {
    const std::lock_guard guard(checked_lock_);
    checked_.clear();
    for (const ProbeTarget& target : targets) checked_[target.id.value] = target.label;
    std::erase_if(since_, [&](const auto& entry) { return !checked_.contains(entry.first); });
    // Again, behind the lock: a verdict may have come between the configuration that ended its checks and here.
    for (const BackendEntry& entry : world_->backends()) {
      if (!entry.removed && !entry.checked) shared_.board.set_healthy(entry.id, true);
    }
  }
  prober_->set_targets(std::move(targets));
}

void Supervisor::await_first_verdicts(Duration patience) {
  const TimePoint until = Clock::now() + patience;
  while (Clock::now() < until) {
    const bool all = std::ranges::all_of(world_->check_targets(), [&](const ProbeTarget& target) {
      const auto state = prober_->state(target.id);
      return state && state->judged;
    });
    if (all || stop_requested_) return;
    // The prober answers within a check's timeout; the wake descriptor ends the wait early for a stop.
    pollfd wait{.fd = commands_.wake_descriptor().number(), .events = 0, .revents = 0};
    ::poll(&wait, 1, 5);
  }
}

void Supervisor::publish() {
  kernel_counts_->follow(*world_);  // before a worker can dial a newcomer
  const auto snapshot = world_->snapshot();
  for (const auto& worker : workers_) worker->publish(snapshot);
  follow_with_the_kernel();
}

void Supervisor::follow_with_the_kernel() {
  readiness_changed_ = false;
  close_on_down();
  if (phase_ == Phase::draining) return;
  const auto judged = [this](BackendId id) {
    const std::lock_guard guard(checked_lock_);
    return since_.contains(id.value);
  };
  const auto changes = kernel_->follow(*world_, judged);
  for (const KernelDatapath::Said& change : changes) events_.add(change.level, change.level == LogLevel::warning ? "warning" : "datapath", "", change.text);
  if (!changes.empty()) kernel_counts_->follow(*world_);  // what comes from here on is another listener's
}

void Supervisor::close_on_down() {
  std::vector<BackendId> went_down;
  {
    const std::lock_guard guard(checked_lock_);
    went_down.swap(went_down_);
  }
  for (const BackendId id : went_down) {
    const auto entry = std::ranges::find(world_->backends(), id, &BackendEntry::id);
    if (entry == world_->backends().end() || entry->removed || shared_.board[id].healthy) continue;
    const auto pool = std::ranges::find(world_->config().pools, entry->pool, &PoolConfig::name);
    if (pool == world_->config().pools.end() || pool->on_down != OnDown::reset) continue;
    for (const auto& worker : workers_) worker->close_backend(id);
  }
}

std::string Supervisor::one_line() const {
  std::size_t ready = 0;
  std::size_t all = 0;
  for (const BackendEntry& entry : world_->backends()) {
    if (entry.removed) continue;
    ++all;
    if (shared_.board.ready(entry.id)) ++ready;
  }
  return fmt::format("{}: {} of {} ready, {}", phase_ == Phase::draining ? "draining" : "serving", ready, counted(all, "backend"),
                     counted(shared_.sessions.load(std::memory_order_relaxed), "session"));
}

int Supervisor::serve() {
  if (options_.on_started) {
    auto guest = options_.on_started(*this);
    if (!guest) {
      log_error("control", "{}", guest.error().message);
      return 1;
    }
    guest_ = std::move(*guest);
  }
  if (auto dropped = drop_privileges(world_->config()); !dropped) {
    log_error("control", "{}", dropped.error().message);
    return 1;
  }
  // Clients wait in the listeners' queues meanwhile; none is turned away for a check that has yet to be made.
  await_first_verdicts(first_verdicts_patience);
  publish();
  phase_ = Phase::serving;
  notify_ready(one_line());
  watchdog_ = watchdog_interval();
  housekeeping_due_ = watchdog_due_ = Clock::now();
  while (true) {
    std::array<pollfd, 2> waits{pollfd{.fd = commands_.wake_descriptor().number(), .events = POLLIN, .revents = 0},
                                pollfd{.fd = signals_.number(), .events = POLLIN, .revents = 0}};
    const TimePoint next = watchdog_ ? std::min(housekeeping_due_, watchdog_due_) : housekeeping_due_;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count();
    const bool draining = phase_ == Phase::draining;
    ::poll(waits.data(), waits.size(), static_cast<int>(std::clamp<std::int64_t>(left + 1, 0, draining ? 20 : 1000)));
    commands_.run_waiting();
    if (signals_) read_signals();
    if ((stop_requested_ || stop_wanted.load()) && phase_ != Phase::draining) begin_drain();
    if (readiness_changed_) follow_with_the_kernel();
    housekeep();
    if (std::ranges::any_of(workers_, [](const auto& worker) { return worker->finished(); }) && phase_ != Phase::draining) {
      log_error("control", "a worker has left; nothing can be served");
      return 1;
    }
    if (phase_ != Phase::draining) continue;
    kernel_->sweep(Clock::now());
    if (std::ranges::all_of(workers_, [](const auto& worker) { return worker->finished(); }) && kernel_drained()) break;
  }
  withdraw_from_kernel();
  commands_.end();  // first: an admin thread that asks now is told so at once, and doesn't keep us
  guest_.reset();
  log_info("control", "drained; {} in all", counted(accepted_so_far(), "connection"));
  return 0;
}

void Supervisor::request_stop() {
  stop_requested_ = true;
  commands_.wake();
}

void Supervisor::read_signals() {
  signalfd_siginfo signal{};
  while (::read(signals_.number(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo == SIGHUP) {
      reload_here();
    } else if (signal.ssi_signo == SIGUSR2) {
      events_.add(LogLevel::warning, "warning", "", "SIGUSR2: upgrade is not supported yet; restart instead");
    } else if (phase_ != Phase::draining) {
      stop_requested_ = true;
    } else {
      // The second one: at once, but with every session's end counted and passed on.
      if (drain_hurried_) {
        withdraw_from_kernel();
        std::_Exit(1);
      }
      drain_hurried_ = true;
      drain_deadline_ = Clock::now();
      events_.add(LogLevel::warning, "drain", "", "told to stop again: ending what is left at once");
      for (const auto& worker : workers_) worker->drain(Clock::now());
    }
  }
}

void Supervisor::begin_drain() {
  phase_ = Phase::draining;
  const Duration timeout = world_->config().global.drain_timeout;
  const TimePoint now = Clock::now();
  drain_deadline_ = now + timeout;
  kernel_->stop_admitting(now);
  kernel_->sweep(now);  // what it counts is exact then
  const std::string flows = kernel_->loaded() ? fmt::format(" and {}", counted(kernel_->active(), "kernel flow")) : "";
  events_.add(LogLevel::info, "drain", "", fmt::format("draining: {}{} have {:g} s to end", counted(shared_.sessions.load(), "session"), flows,
                                                       std::chrono::duration<double>(timeout).count()));
  notify_stopping(one_line());
  for (const auto& worker : workers_) worker->drain(drain_deadline_);
}

bool Supervisor::kernel_drained() { return Clock::now() >= drain_deadline_ || kernel_->settled(Clock::now()); }

void Supervisor::withdraw_from_kernel() {
  const std::uint64_t left = kernel_->active();
  const std::string done = kernel_->withdraw();
  if (left != 0) {
    events_.add(LogLevel::warning, "drain", "", fmt::format("{} had not ended; nothing forwards their packets any more", counted(left, "kernel flow")));
  }
  if (!done.empty()) log_info("control", "kernel datapath: {}", done);
}

bool Supervisor::workers_moved() {
  bool all = true;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const std::uint64_t turns = sheets_[i]->worker.turns.get();
    if (turns == turns_seen_[i] && !workers_[i]->finished()) all = false;
    turns_seen_[i] = turns;
    workers_[i]->poke();
  }
  return all;
}

void Supervisor::housekeep() {
  const TimePoint now = Clock::now();
  if (watchdog_ && now >= watchdog_due_) {
    // Each worker was poked the time before: one that has made no turn since is stuck, and systemd shall know by silence.
    if (workers_moved() || now - started_ < *watchdog_) notify_watchdog();
    watchdog_due_ = now + *watchdog_ / 4;
  }
  if (now < housekeeping_due_) return;
  housekeeping_due_ = now + housekeeping_interval;
  world_->forget_the_gone(now);
  follow_with_the_kernel();
  kernel_->sweep(now);
  speak_of_shortages();
  notify_status(one_line());
}

void Supervisor::speak_of_shortages() {
  std::map<std::string, std::uint64_t> counts;
  for (const auto& sheet : sheets_) {
    counts["accept: no descriptor or memory for another connection; it waits in the queue"] += sheet->worker.accept_errors.get();
    counts["no pipe to be had (fs.pipe-user-pages-soft or RLIMIT_NOFILE); copying instead"] += sheet->worker.pipes_short.get();
    for (const ListenerEntry& entry : world_->listeners()) {
      counts["connections are shed: a limit of sessions, descriptors, memory or local ports is reached"] +=
          sheet->listener(entry.id).closed[static_cast<std::size_t>(Outcome::shed)].get();
    }
  }
  const TimePoint now = Clock::now();
  for (const auto& [what, count] : counts) {
    auto& [seen, said_at] = shortages_[what];
    if (count <= seen) {  // less: a listener was forgotten, and its count with it
      seen = count;
      continue;
    }
    const bool quiet = said_at == TimePoint{} || now - said_at > shortage_quiet;
    if (quiet) events_.add(LogLevel::warning, "shed", "", fmt::format("{} ({} so far)", what, count));
    said_at = now;
    seen = count;
  }
}

ReloadReport Supervisor::reload_here() {
  ReloadReport report;
  const auto refuse = [&](std::vector<std::string> problems) {
    ++reloads_refused_;
    last_reload_error_ = problems.empty() ? "" : problems.front();
    for (const std::string& problem : problems) log_error("control", "reload refused: {}", problem);
    events_.add(LogLevel::error, "reload", "", fmt::format("refused, nothing has changed: {}", last_reload_error_));
    report.problems = std::move(problems);
    if (phase_ == Phase::serving) notify_ready(one_line());
    return report;
  };
  if (phase_ == Phase::serving) notify_reloading();
  if (options_.config_file.empty()) return refuse({"this usher was started without a configuration file"});
  if (phase_ == Phase::draining) return refuse({"draining: it is too late for a reload"});
  std::ifstream file(options_.config_file);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return refuse({system_error(fmt::format("can't read {}", options_.config_file)).message});
  const Parsed parsed = parse_config(text.str(), options_.config_file);
  if (!parsed.config) {
    std::vector<std::string> problems;
    for (const Diagnostic& problem : parsed.problems) problems.push_back(problem.text());
    return refuse(std::move(problems));
  }
  const GlobalConfig before = world_->config().global;
  const AdminConfig admin_before = world_->config().admin;
  auto changes = world_->apply(*parsed.config);
  if (!changes) return refuse({changes.error().message});
  report.changes = std::move(*changes);
  const GlobalConfig& after = parsed.config->global;
  if (before.workers != after.workers || before.max_connections != after.max_connections || before.user != after.user ||
      before.mover != after.mover || admin_before != parsed.config->admin) {
    report.changes.emplace_back("global.workers, max_connections, user, mover and [admin] are taken on at the next start only");
  }
  configure_log(after.log_level, after.log_format);
  retarget();
  // A listener whose whole pool is new would have nobody to serve it until the first checks are in.
  const bool newcomers_only = std::ranges::any_of(world_->config().listeners, [&](const ListenerConfig& listener) {
    return !world_->pool_ready(listener.pool);
  });
  if (newcomers_only) await_first_verdicts(first_verdicts_patience);
  publish();
  config_text_ = without_secret(text.str(), parsed.config->admin.token);
  reloaded_ = std::chrono::system_clock::now();
  last_reload_error_.clear();
  ++reloads_applied_;
  report.applied = true;
  for (const std::string& change : report.changes) log_info("control", "reload: {}", change);
  events_.add(LogLevel::info, "reload", "", report.changes.empty() ? "applied; nothing was different" : fmt::format("applied, {}", counted(report.changes.size(), "change")));
  notify_ready(one_line());
  return report;
}

int run_service(const Config& config, const RunOptions& options) {
  auto supervisor = Supervisor::build(config, options);
  if (!supervisor) {
    log_error("control", "{}", supervisor.error().message);
    return 1;
  }
  const int status = (*supervisor)->serve();
  stop_wanted = false;  // it was for this service
  return status;
}

void request_stop() {
  // The supervisor of a run_service that has yet to be built will find the flag.
  stop_wanted = true;
  if (Supervisor* supervisor = running.load()) supervisor->request_stop();
}

}  // namespace usher
