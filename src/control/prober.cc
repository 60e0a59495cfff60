// Prober: one thread, one epoll(7), one ordered set of due times; thousands of checks, each a state and no thread.
#include "usher/control/prober.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "control/probe_attempt.h"
#include "usher/base/clock.h"
#include "usher/base/fd.h"
#include "usher/base/log.h"
#include "usher/base/rng.h"

namespace usher {
namespace {

constexpr std::size_t events_per_turn_max = 256;
/// Due times seen to in one turn; the rest wait for the next, so that answers are read in between.
constexpr std::size_t due_per_turn_max = 64;
/// However small an interval is asked for, there is this much between the starts of two checks of one backend.
constexpr Duration pace_min = std::chrono::milliseconds(1);
/// A local problem is logged again only after it has been away for this long.
constexpr Duration local_problem_quiet = std::chrono::minutes(1);
constexpr std::uint64_t wake_tag = ~std::uint64_t{0};

struct Target {
  explicit Target(ProbeTarget target) : wanted(std::move(target)), judge(wanted.options, wanted.starts_up) {}

  ProbeTarget wanted;
  Judge judge;
  std::string reason;
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
  std::uint64_t flips = 0;
  TimePoint due;      ///< of the next check, or the deadline of the one under way; always in due_
  TimePoint started;  ///< of the last check
  std::uint32_t generation = 0;  ///< of the check: tells an event for an earlier one
  std::uint32_t interest = 0;    ///< what epoll was told
  std::optional<ProbeAttempt> attempt;
};

struct Verdict {
  BackendId id;
  std::string label;
  Flip flip;
  bool first = false;
};

class EpollProber final : public Prober {
 public:
  EpollProber(OnVerdict on_verdict, std::uint64_t seed, Fd epoll, Fd wake)
      : on_verdict_(std::move(on_verdict)), rng_(seed), epoll_(std::move(epoll)), wake_(std::move(wake)) {}
  ~EpollProber() override;
  EpollProber(const EpollProber&) = delete;
  EpollProber& operator=(const EpollProber&) = delete;

  Result<void> start();
  void set_targets(std::vector<ProbeTarget> targets) override;
  std::optional<ProbeState> state(BackendId id) override;

 private:
  // A map's nodes stay where they are, so a Target& is good until its erasure.
  using Targets = std::unordered_map<std::uint32_t, Target>;

  void run();
  void wake() noexcept;
  int wait_ms();
  void see_events(std::span<const epoll_event> events);
  void see_due();
  void begin(Target& target, TimePoint now);
  void settle(Target& target, const ProbeOutcome& outcome, TimePoint now);
  void judge(Target& target, const CheckResult& result);
  void warn_once(const Target& target, const LocalProblem& problem, TimePoint now);
  Result<void> watch(Target& target, int operation);
  void schedule(Target& target, TimePoint due);

  const OnVerdict on_verdict_;
  Rng rng_;
  Fd epoll_;
  Fd wake_;
  std::atomic<bool> stopping_ = false;
  /// Guards everything below. Held for one bounded turn, never while waiting and never while on_verdict_ runs.
  std::mutex mutex_;
  Targets targets_;
  std::set<std::pair<TimePoint, std::uint32_t>> due_;
  std::vector<Verdict> verdicts_;
  std::map<int, TimePoint> local_problems_;  ///< errno to when it was last met; as many as is_local_problem() knows
  std::uint32_t generations_ = 0;
  std::thread thread_;
};

EpollProber::~EpollProber() {
  stopping_ = true;
  wake();
  if (thread_.joinable()) thread_.join();
}

Result<void> EpollProber::start() {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = wake_tag}};
  if (::epoll_ctl(epoll_.number(), EPOLL_CTL_ADD, wake_.number(), &event) != 0) {
    return fail_system("cannot watch an eventfd");
  }
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    return fail_system("cannot start the prober's thread", error.code().value());
  }
  return {};
}

void EpollProber::wake() noexcept {
  const std::uint64_t one = 1;
  // It fails only when the counter is full, and then it is readable, which is all that is asked.
  (void)!::write(wake_.number(), &one, sizeof one);
}

void EpollProber::set_targets(std::vector<ProbeTarget> targets) {
  {
    const std::lock_guard lock(mutex_);
    const TimePoint now = Clock::now();
    Targets kept;
    for (ProbeTarget& wanted : targets) {
      const std::uint32_t id = wanted.id.value;
      if (wanted.options.type == CheckType::none || kept.contains(id)) continue;
      auto known = targets_.extract(id);
      if (known && known.mapped().wanted.address == wanted.address) {
        Target& target = known.mapped();
        const bool same_check = target.wanted.options == wanted.options;
        target.wanted = std::move(wanted);
        if (!same_check) {
          // A check under way asks the old question, and the next one may be an old and long interval away.
          target.attempt.reset();
          target.judge.adopt(target.wanted.options);
          schedule(target, now + target.judge.first_in(rng_));
        }
        kept.insert(std::move(known));
        continue;
      }
      if (known) due_.erase({known.mapped().due, id});
      Target& target = kept.try_emplace(id, std::move(wanted)).first->second;
      schedule(target, now + target.judge.first_in(rng_));
    }
    for (const auto& [id, gone] : targets_) due_.erase({gone.due, id});
    targets_ = std::move(kept);
  }
  wake();
}

std::optional<ProbeState> EpollProber::state(BackendId id) {
  const std::lock_guard lock(mutex_);
  const auto found = targets_.find(id.value);
  if (found == targets_.end()) return std::nullopt;
  const Target& target = found->second;
  return ProbeState{.up = target.judge.up(),
                    .judged = target.judge.judged(),
                    .reason = target.reason,
                    .passed = target.passed,
                    .failed = target.failed,
                    .flips = target.flips};
}

void EpollProber::run() {
  ::pthread_setname_np(::pthread_self(), "usher-prober");
  std::array<epoll_event, events_per_turn_max> events{};
  std::vector<Verdict> verdicts;
  while (!stopping_) {
    const int count = ::epoll_wait(epoll_.number(), events.data(), events.size(), wait_ms());
    if (count < 0) {
      if (errno == EINTR) continue;
      // Only a descriptor that isn't ours any more gives this: going on would be to judge nobody and tell nobody.
      log_error("health", "{}", system_error("the prober cannot wait").message);
      std::abort();
    }
    {
      const std::lock_guard lock(mutex_);
      see_events({events.data(), static_cast<std::size_t>(count)});
      // A deadline counts only once everything that had come has been read: after a stall of ours (a suspended machine,
      // a starved thread) answers that lie waiting must not be called late.
      if (static_cast<std::size_t>(count) < events.size()) see_due();
      verdicts.swap(verdicts_);
    }
    for (const Verdict& verdict : verdicts) {
      if (stopping_) return;
      on_verdict_(verdict.id, verdict.label, verdict.flip, verdict.first);
    }
    verdicts.clear();
  }
}

int EpollProber::wait_ms() {
  const std::lock_guard lock(mutex_);
  if (due_.empty()) return -1;
  const Duration left = due_.begin()->first - Clock::now();
  if (left <= Duration{0}) return 0;
  // Rounded up: rounded down it would turn in circles for the last part of a millisecond. An hour is long enough to
  // sleep.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::min<Duration>(left, std::chrono::hours(1)));
  return static_cast<int>(ms.count());
}

void EpollProber::see_events(std::span<const epoll_event> events) {
  const TimePoint now = Clock::now();
  for (const epoll_event& event : events) {
    if (event.data.u64 == wake_tag) {
      std::uint64_t count = 0;
      (void)!::read(wake_.number(), &count, sizeof count);  // EAGAIN: drained already
      continue;
    }
    const auto found = targets_.find(static_cast<std::uint32_t>(event.data.u64));
    // The target left, or its check was dropped, after the kernel had written this event down.
    if (found == targets_.end()) continue;
    Target& target = found->second;
    if (!target.attempt || target.generation != static_cast<std::uint32_t>(event.data.u64 >> 32)) continue;
    if (const auto outcome = target.attempt->advance()) {
      settle(target, *outcome, now);
    } else if (target.attempt->interest() != target.interest) {
      if (const auto watched = watch(target, EPOLL_CTL_MOD); !watched) {
        settle(target, LocalProblem{watched.error().message, watched.error().code}, now);
      }
    }
  }
}

void EpollProber::see_due() {
  const TimePoint now = Clock::now();
  for (std::size_t seen = 0; seen < due_per_turn_max && !due_.empty() && due_.begin()->first <= now; ++seen) {
    Target& target = targets_.at(due_.begin()->second);
    if (target.attempt) {
      settle(target, target.attempt->expire(), now);
    } else {
      begin(target, now);
    }
  }
}

void EpollProber::begin(Target& target, TimePoint now) {
  target.started = now;
  target.generation = ++generations_;
  target.attempt.emplace(target.wanted.address, target.wanted.options);
  if (const auto outcome = target.attempt->begin()) return settle(target, *outcome, now);
  if (const auto watched = watch(target, EPOLL_CTL_ADD); !watched) {
    return settle(target, LocalProblem{watched.error().message, watched.error().code}, now);
  }
  schedule(target, now + target.wanted.options.timeout);
}

Result<void> EpollProber::watch(Target& target, int operation) {
  target.interest = target.attempt->interest();
  const std::uint64_t tag = std::uint64_t{target.generation} << 32 | target.wanted.id.value;
  epoll_event event{.events = target.interest, .data = {.u64 = tag}};
  // Fails for want of memory or of fs.epoll.max_user_watches; closing the socket later is what takes it out again.
  if (::epoll_ctl(epoll_.number(), operation, target.attempt->socket().number(), &event) != 0) {
    return fail_system("cannot watch a socket");
  }
  return {};
}

void EpollProber::settle(Target& target, const ProbeOutcome& outcome, TimePoint now) {
  target.attempt.reset();
  if (const auto* problem = std::get_if<LocalProblem>(&outcome)) {
    target.reason = problem->reason;
    warn_once(target, *problem, now);
  } else {
    judge(target, std::get<CheckResult>(outcome));
  }
  // An interval is from start to start. A check that took longer than that is followed at once by the next: its own
  // timeout, or pace_min, keeps that from being a busy loop.
  schedule(target, std::max(target.started + std::max(target.judge.next_in(rng_), pace_min), now));
}

void EpollProber::judge(Target& target, const CheckResult& result) {
  const bool first = !target.judge.judged();
  ++(result.passed ? target.passed : target.failed);
  target.reason = result.reason;
  auto flip = target.judge.observe(result);
  target.flips += flip ? 1 : 0;
  if (first) {
    const char* const verb = result.passed ? "passed" : "failed";
    flip = Flip{target.judge.up(), fmt::format("the first check {}: {}", verb, result.reason)};
  }
  if (flip) verdicts_.push_back({target.wanted.id, target.wanted.label, *std::move(flip), first});
}

void EpollProber::warn_once(const Target& target, const LocalProblem& problem, TimePoint now) {
  const auto [entry, is_new] = local_problems_.try_emplace(problem.code, now);
  const bool was_quiet = now - std::exchange(entry->second, now) > local_problem_quiet;
  if (!is_new && !was_quiet) return;
  log_warning("health", "{} was not checked, and keeps its state: {} (said once for all backends)", target.wanted.label,
              problem.reason);
}

void EpollProber::schedule(Target& target, TimePoint due) {
  const std::uint32_t id = target.wanted.id.value;
  due_.erase({target.due, id});
  target.due = due;
  due_.emplace(due, id);
}

}  // namespace

Result<std::unique_ptr<Prober>> start_prober(Prober::OnVerdict on_verdict, std::uint64_t seed) {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail_system("cannot open an epoll descriptor for health checks");
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_system("cannot open an eventfd for health checks");
  auto prober = std::make_unique<EpollProber>(std::move(on_verdict), seed, std::move(epoll), std::move(wake));
  if (auto started = prober->start(); !started) return std::unexpected(std::move(started.error()));
  return prober;
}

}  // namespace usher
