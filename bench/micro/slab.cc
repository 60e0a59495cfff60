// What a slot of the Slab costs: taken, found again by its generation, given back; and a walk over all of them.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "micro.h"
#include "usher/base/rng.h"
#include "usher/base/slab.h"

namespace {

using namespace usher;

/// As large as a session may be.
struct Slot {
  std::uint64_t words[16];
};

/// A session comes and another goes, while `in_use` others stay; which one goes is random, as it is with sessions.
void come_and_go(benchmark::State& state) {
  const auto in_use = static_cast<std::uint32_t>(state.range(0));
  Slab<Slot> slab(in_use + 1);
  std::vector<std::uint32_t> slots;
  for (std::uint32_t i = 0; i < in_use; ++i) slots.push_back(*slab.acquire());
  Rng rng(1);
  for (auto _ : state) {
    const auto slot = slab.acquire();
    if (!slot) return micro::broken(state, "the slab is full");
    std::uint32_t& leaves = slots[rng.below(in_use)];
    slab.release(leaves);
    leaves = *slot;
  }
}
BENCHMARK(come_and_go)->ArgName("in_use")->Arg(10)->Arg(1'000)->Arg(100'000);

/// What every completion asks: is this still the session that it was meant for?
void holds(benchmark::State& state) {
  const auto in_use = static_cast<std::uint32_t>(state.range(0));
  Slab<Slot> slab(in_use);
  for (std::uint32_t i = 0; i < in_use; ++i) slab.acquire();
  Rng rng(1);
  for (auto _ : state) {
    const auto slot = static_cast<std::uint32_t>(rng.below(in_use));
    if (!slab.holds(slot, 0)) return micro::broken(state, "a slot in use isn't held");
    benchmark::DoNotOptimize(slab[slot].words[0]);
  }
}
BENCHMARK(holds)->ArgName("in_use")->Arg(10)->Arg(1'000)->Arg(100'000);

/// What inspect and a drain do.
void walk(benchmark::State& state) {
  const auto in_use = static_cast<std::uint32_t>(state.range(0));
  Slab<Slot> slab(in_use);
  for (std::uint32_t i = 0; i < in_use; ++i) slab.acquire();
  for (auto _ : state) {
    std::uint32_t seen = 0;
    slab.for_each([&](std::uint32_t, Slot& slot) {
      benchmark::DoNotOptimize(slot.words[0]);
      ++seen;
    });
    if (seen != in_use) return micro::broken(state, "the walk missed a slot");
  }
  state.SetItemsProcessed(state.iterations() * in_use);
}
BENCHMARK(walk)->ArgName("in_use")->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

}  // namespace
