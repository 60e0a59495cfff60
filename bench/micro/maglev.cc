// What building a Maglev picker costs: the table, and what stands around it. The target is 65,537 slots x 1,000 backends in 5 ms.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <vector>

#include "micro.h"
#include "usher/base/rng.h"
#include "usher/policy/board.h"
#include "usher/policy/picker.h"

namespace {

using namespace usher;

enum class Weights { equal, odd };

/// Arguments: slots, backends. As a reload builds it: from the list, every time anew.
void build(benchmark::State& state, Weights weights) {
  Board board;
  std::vector<Backend> backends;
  Rng rng(1);
  for (std::uint32_t number = 0; number < static_cast<std::uint32_t>(state.range(1)); ++number) {
    Backend backend;
    backend.id = BackendId{number};
    backend.name = fmt::format("backend-{}", number);
    if (weights == Weights::odd) backend.weight = static_cast<std::uint32_t>(1 + rng.below(1'000));
    backends.push_back(backend);
    board.set_enabled(backend.id, true);
    board.set_healthy(backend.id, true);
  }
  PickerOptions options;
  options.algorithm = Algorithm::maglev;
  options.maglev_table_size = static_cast<std::uint32_t>(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(make_picker(options, backends, board));
}

BENCHMARK_CAPTURE(build, equal_weights, Weights::equal)
    ->ArgNames({"slots", "backends"})
    ->ArgsProduct({{65'537, 655'373}, {10, 100, 1'000}})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(build, odd_weights, Weights::odd)
    ->ArgNames({"slots", "backends"})
    ->ArgsProduct({{65'537, 655'373}, {10, 100, 1'000}})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
