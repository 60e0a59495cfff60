// What one pick costs, by algorithm and number of backends, and what building a picker costs.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "policy/maglev_table.h"
#include "usher/base/hash.h"
#include "usher/policy/board.h"
#include "usher/policy/picker.h"

namespace {

using namespace usher;

struct Pool {
  enum class Weights { equal, odd };
  Pool(std::uint32_t count, Weights weights) {
    Rng rng(count);
    for (std::uint32_t number = 0; number < count; ++number) {
      Backend backend;
      backend.id = BackendId{number};
      backend.name = fmt::format("backend-{}", number);
      if (weights == Weights::odd) backend.weight = static_cast<std::uint32_t>(1 + rng.below(1'000));
      backends.push_back(backend);
      board.set_enabled(backend.id, true);
      board.set_healthy(backend.id, true);
      board[backend.id].active = static_cast<std::uint32_t>(rng.below(50));
      board.note_latency(backend.id, Duration(100'000 + static_cast<Duration::rep>(rng.below(900'000))), Clock::now());
    }
  }
  Board board;
  std::vector<Backend> backends;
};

PickerOptions options_of(Algorithm algorithm) {
  PickerOptions options;
  options.algorithm = algorithm;
  return options;
}

/// `wanted` candidates a pick: 1, or 3 as connect_attempts has it. `down` of ten backends are not healthy.
void pick(benchmark::State& state, Algorithm algorithm, std::size_t wanted, std::uint32_t down) {
  Pool pool(static_cast<std::uint32_t>(state.range(0)), Pool::Weights::odd);
  for (const Backend& backend : pool.backends) {
    if (backend.id.value % 10 < down) pool.board.set_healthy(backend.id, false);
  }
  const auto picker = make_picker(options_of(algorithm), pool.backends, pool.board);
  Rng rng(1);
  std::array<std::uint32_t, 3> order{};
  std::uint64_t key = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(picker->pick(mix64(++key), rng, std::span(order).first(wanted)));
    benchmark::DoNotOptimize(order);
  }
}

void build(benchmark::State& state, Algorithm algorithm, Pool::Weights weights, std::uint32_t table_size) {
  const Pool pool(static_cast<std::uint32_t>(state.range(0)), weights);
  PickerOptions options = options_of(algorithm);
  options.maglev_table_size = table_size;
  for (auto _ : state) benchmark::DoNotOptimize(make_picker(options, pool.backends, pool.board));
}

const int registered = [] {
  for (const Algorithm algorithm :
       {Algorithm::round_robin, Algorithm::random, Algorithm::two_choices, Algorithm::least_connections,
        Algorithm::least_latency, Algorithm::source_hash, Algorithm::maglev}) {
    const std::string called(name(algorithm));
    const auto sizes = [](auto* bench) { bench->Arg(10)->Arg(100)->Arg(1'000); };
    sizes(benchmark::RegisterBenchmark(("pick_1/" + called).c_str(), pick, algorithm, 1, 0));
    sizes(benchmark::RegisterBenchmark(("pick_3/" + called).c_str(), pick, algorithm, 3, 0));
    sizes(benchmark::RegisterBenchmark(("pick_3_tenth_down/" + called).c_str(), pick, algorithm, 3, 1));
    benchmark::RegisterBenchmark(("build/" + called).c_str(), build, algorithm, Pool::Weights::equal, 65'537)
        ->Arg(1'000)
        ->Unit(benchmark::kMicrosecond);
    benchmark::RegisterBenchmark(("build_odd_weights/" + called).c_str(), build, algorithm, Pool::Weights::odd, 65'537)
        ->Arg(1'000)
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RegisterBenchmark("build_655373/maglev", build, Algorithm::maglev, Pool::Weights::equal, 655'373)
      ->Arg(1'000)
      ->Unit(benchmark::kMicrosecond);
  return 0;
}();

}  // namespace
