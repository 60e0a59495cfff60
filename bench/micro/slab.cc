// What a slot of the Slab costs: taken, found again by its generation, given back; a walk over all; and pages of other sizes under it.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "micro.h"
#include "slab/region.h"
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

/// A session as a completion finds it, in an order that nobody foresees: its mark compared, its first cache line read, its second
/// written. Each tells which is the next, so that nothing of a miss hides behind the next one. Laid out as Slab has it, in pages
/// of one kind or another; usher's own are ordinary ones.
void touch(benchmark::State& state, micro::Pages pages) {
  const auto in_use = static_cast<std::uint32_t>(state.range(0));
  const auto slots = micro::Region::map(in_use * sizeof(Slot), pages);
  if (!slots) return micro::not_here(state, slots.error().message);
  const auto marks = micro::Region::map(in_use * sizeof(std::uint64_t), pages);
  if (!marks) return micro::not_here(state, marks.error().message);
  const std::span slot(static_cast<Slot*>(slots->start()), in_use);
  const std::span mark(static_cast<std::uint64_t*>(marks->start()), in_use);
  // One circle through all of them (Sattolo, 1986).
  Rng rng(1);
  for (std::uint32_t i = 0; i < in_use; ++i) slot[i].words[0] = i;
  for (std::uint32_t i = in_use - 1; i > 0; --i) std::swap(slot[i].words[0], slot[rng.below(i)].words[0]);
  for (std::uint32_t i = 0; i < in_use; ++i) mark[i] = slot[i].words[0];

  const auto huge_bytes = slots->huge_bytes();
  if (!huge_bytes) return micro::broken(state, huge_bytes.error().message);
  const bool as_wished = (pages == micro::Pages::ordinary) == (*huge_bytes == 0);
  if (!as_wished) return micro::not_here(state, "the kernel gave pages of another size than it was asked for");
  if (pages != micro::Pages::ordinary) {
    state.SetLabel(fmt::format("{} % of it in huge pages", std::min<std::size_t>(100, *huge_bytes * 100 / slot.size_bytes())));
  }

  std::uint64_t at = 0;
  for (auto _ : state) {
    Slot& mine = slot[at];
    if (mark[at] != mine.words[0]) return micro::broken(state, "a mark isn't its slot's");
    ++mine.words[8];
    at = mine.words[0];
  }
  std::uint64_t touched = 0;
  for (const Slot& each : slot) touched += each.words[8];
  if (touched != static_cast<std::uint64_t>(state.iterations())) micro::broken(state, "a touch was lost");
}
BENCHMARK_CAPTURE(touch, ordinary_pages, micro::Pages::ordinary)->ArgName("in_use")->Arg(100'000);
BENCHMARK_CAPTURE(touch, advised_huge_pages, micro::Pages::advised)->ArgName("in_use")->Arg(100'000);
BENCHMARK_CAPTURE(touch, set_aside_huge_pages, micro::Pages::set_aside)->ArgName("in_use")->Arg(100'000);

}  // namespace
