// What a random number and a hash cost: the floor under every pick.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>

#include "micro.h"
#include "usher/base/hash.h"
#include "usher/base/rng.h"

namespace {

using namespace usher;

void rng_below_1000(benchmark::State& state) {
  Rng rng(1);
  for (auto _ : state) benchmark::DoNotOptimize(rng.below(1'000));
}
BENCHMARK(rng_below_1000);

void rng_unit(benchmark::State& state) {
  Rng rng(1);
  for (auto _ : state) benchmark::DoNotOptimize(rng.unit());
}
BENCHMARK(rng_unit);

void hash_mix64(benchmark::State& state) {
  std::uint64_t word = 1;
  for (auto _ : state) benchmark::DoNotOptimize(word = mix64(word));
}
BENCHMARK(hash_mix64);

/// 4 and 16 bytes are a client's address, the others names.
void hash_of_text(benchmark::State& state) {
  const std::string text(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(hash_text(text));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(hash_of_text)->ArgName("bytes")->Arg(4)->Arg(16)->Arg(64)->Arg(255);

}  // namespace
