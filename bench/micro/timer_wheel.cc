// What a deadline costs: set, moved, cleared, found due; with few and with many others pending.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>

#include "micro.h"
#include "usher/base/rng.h"
#include "usher/base/timer_wheel.h"

namespace {

using namespace usher;
using namespace std::chrono_literals;

constexpr TimePoint start{1h};
constexpr Duration farthest = 10min;  // idle_timeout as it ships

Duration some_time(Rng& rng) { return 1s + Duration(rng.below(static_cast<std::uint64_t>(farthest.count()))); }

struct Full {
  explicit Full(std::uint32_t slot_count) : count(slot_count), wheel(slot_count, start) {
    for (std::uint32_t slot = 0; slot < count; ++slot) wheel.set(slot, start + some_time(rng));
  }
  std::uint32_t count;
  Rng rng{1};
  TimerWheel wheel;
};

void move_deadline(benchmark::State& state) {
  Full full(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) full.wheel.set(static_cast<std::uint32_t>(full.rng.below(full.count)), start + some_time(full.rng));
  if (full.wheel.size() != full.count) micro::broken(state, "a deadline was lost");
}
BENCHMARK(move_deadline)->ArgName("pending")->Arg(1'000)->Arg(100'000);

/// A session that ends and one that comes.
void clear_and_set(benchmark::State& state) {
  Full full(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) {
    const auto slot = static_cast<std::uint32_t>(full.rng.below(full.count));
    full.wheel.clear(slot);
    full.wheel.set(slot, start + some_time(full.rng));
  }
  if (full.wheel.size() != full.count) micro::broken(state, "a deadline was lost");
}
BENCHMARK(clear_and_set)->ArgName("pending")->Arg(1'000)->Arg(100'000);

void next_due(benchmark::State& state) {
  const Full full(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(full.wheel.next_due());
}
BENCHMARK(next_due)->ArgName("pending")->Arg(1'000)->Arg(100'000);

/// A millisecond passes, as between two turns of a busy worker; what falls due is set again. The time is of one such step.
void advance_1ms(benchmark::State& state) {
  Full full(static_cast<std::uint32_t>(state.range(0)));
  TimePoint now = start;
  std::uint64_t due = 0;
  for (auto _ : state) {
    now += 1ms;
    full.wheel.advance(now, [&](std::uint32_t slot) {
      full.wheel.set(slot, now + some_time(full.rng));
      ++due;
    });
  }
  if (full.wheel.size() != full.count) micro::broken(state, "a deadline was lost");
  state.counters["due_a_step"] = benchmark::Counter(static_cast<double>(due), benchmark::Counter::kAvgIterations);
}
BENCHMARK(advance_1ms)->ArgName("pending")->Arg(1'000)->Arg(100'000);

/// All of them fall due, cascades included: the time is that of setting and expiring them all.
void expire_all(benchmark::State& state) {
  const auto count = static_cast<std::uint32_t>(state.range(0));
  TimerWheel wheel(count, start);
  Rng rng(1);
  TimePoint now = start;
  for (auto _ : state) {
    for (std::uint32_t slot = 0; slot < count; ++slot) wheel.set(slot, now + some_time(rng));
    now += farthest + 2s;
    std::uint32_t due = 0;
    wheel.advance(now, [&](std::uint32_t) { ++due; });
    if (due != count) return micro::broken(state, "a deadline was missed");
  }
  state.SetItemsProcessed(state.iterations() * count);
}
BENCHMARK(expire_all)->ArgName("pending")->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

}  // namespace
