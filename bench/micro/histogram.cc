// What counting costs: a Counter, a DurationHistogram, and the time that goes into it.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>

#include "micro.h"
#include "usher/base/clock.h"
#include "usher/base/rng.h"
#include "usher/metrics/counters.h"

namespace {

using namespace usher;

void counter_add(benchmark::State& state) {
  Counter counter;
  for (auto _ : state) {
    counter.add();
    benchmark::DoNotOptimize(counter);
  }
  if (counter.get() != static_cast<std::uint64_t>(state.iterations())) micro::broken(state, "a count was lost");
}
BENCHMARK(counter_add);

/// Durations from microseconds to seconds, so that no branch is foreseen.
void histogram_note(benchmark::State& state) {
  DurationHistogram histogram;
  Rng rng(1);
  std::array<Duration, 1'024> durations;
  for (Duration& duration : durations) duration = Duration(std::int64_t{1'000} << rng.below(21));
  std::size_t at = 0;
  for (auto _ : state) histogram.note(durations[at++ % durations.size()]);
  std::uint64_t noted = 0;
  for (std::size_t i = 0; i < DurationHistogram::bucket_count; ++i) noted += histogram.bucket(i);
  if (noted != static_cast<std::uint64_t>(state.iterations())) micro::broken(state, "a duration was lost");
}
BENCHMARK(histogram_note);

void clock_now(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Clock::now());
}
BENCHMARK(clock_now);

}  // namespace
