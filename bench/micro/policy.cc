// What one pick costs, by algorithm and number of backends, and what building a picker costs.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "micro.h"
#include "usher/base/hash.h"
#include "usher/policy/board.h"
#include "usher/policy/picker.h"

namespace {

using namespace usher;

constexpr std::array algorithms = {Algorithm::round_robin,   Algorithm::random,      Algorithm::two_choices, Algorithm::least_connections,
                                   Algorithm::least_latency, Algorithm::source_hash, Algorithm::maglev};

constexpr Duration between_picks{20};
constexpr Duration between_sessions = std::chrono::microseconds(10);

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
      const Duration ago(rng.below(5'000'000'000));  // so that something is forgotten of each
      board.note_latency(backend.id, Duration(100'000 + static_cast<Duration::rep>(rng.below(900'000))), Clock::now() - ago);
    }
  }
  Board board;
  std::vector<Backend> backends;
};

std::unique_ptr<const Picker> picker_of(Algorithm algorithm, const Pool& pool) {
  PickerOptions options;
  options.algorithm = algorithm;
  return make_picker(options, pool.backends, pool.board);
}

/// `wanted` candidates a pick: 1, or 3 as connect_attempts has it. `down` of ten backends are not healthy. Nothing changes
/// on the board between two picks, but time passes: the caller knows it anyway (a worker reads its clock once a turn), so
/// reading it isn't in the figure, and what ages by it is.
void pick(benchmark::State& state, Algorithm algorithm, std::size_t wanted, std::uint32_t down) {
  Pool pool(static_cast<std::uint32_t>(state.range(0)), Pool::Weights::odd);
  for (const Backend& backend : pool.backends) {
    if (backend.id.value % 10 < down) pool.board.set_healthy(backend.id, false);
  }
  const auto picker = picker_of(algorithm, pool);
  Rng rng(1);
  std::array<std::uint32_t, 3> order{};
  std::uint64_t key = 0;
  TimePoint now = Clock::now();
  for (auto _ : state) {
    const std::size_t got = picker->pick(mix64(++key), now += between_picks, rng, std::span(order).first(wanted));
    if (got != wanted) return micro::broken(state, "the picker had fewer candidates than there are backends");
    benchmark::DoNotOptimize(order);
  }
}

/// All that a session's life asks of policy, as a worker does it: a pick of 3, one more active, the time of its connect
/// noted, and, 256 sessions later, one less active. What a picker remembers of the board must follow.
void session(benchmark::State& state, Algorithm algorithm) {
  Pool pool(static_cast<std::uint32_t>(state.range(0)), Pool::Weights::odd);
  const auto picker = picker_of(algorithm, pool);
  Rng rng(1);
  std::array<std::uint32_t, 3> order{};
  std::array<BackendId, 256> held{};
  const TimePoint start = Clock::now();
  std::uint64_t number = 0;
  for (auto _ : state) {
    const TimePoint now = start + number * between_sessions;
    if (picker->pick(mix64(number), now, rng, order) == 0) return micro::broken(state, "the picker had no candidate");
    const BackendId chosen = pool.backends[order[0]].id;
    pool.board.enter(chosen);
    pool.board.note_latency(chosen, Duration(100'000 + (mix64(number) & 0xffff)), now);
    BackendId& oldest = held[number % held.size()];
    if (number >= held.size()) pool.board.leave(oldest);
    oldest = chosen;
    ++number;
  }
}

void build(benchmark::State& state, Algorithm algorithm, Pool::Weights weights) {
  const Pool pool(static_cast<std::uint32_t>(state.range(0)), weights);
  for (auto _ : state) benchmark::DoNotOptimize(picker_of(algorithm, pool));
}

const int registered = [] {
  for (const Algorithm algorithm : algorithms) {
    const std::string called(name(algorithm));
    const auto sizes = [](auto* bench) { bench->ArgName("backends")->Arg(10)->Arg(100)->Arg(1'000); };
    sizes(benchmark::RegisterBenchmark(("pick_1/" + called).c_str(), pick, algorithm, 1, 0));
    sizes(benchmark::RegisterBenchmark(("pick_3/" + called).c_str(), pick, algorithm, 3, 0));
    sizes(benchmark::RegisterBenchmark(("pick_3_tenth_down/" + called).c_str(), pick, algorithm, 3, 1));
    sizes(benchmark::RegisterBenchmark(("session/" + called).c_str(), session, algorithm));
    if (algorithm == Algorithm::maglev) continue;  // micro_maglev has that
    benchmark::RegisterBenchmark(("build/" + called).c_str(), build, algorithm, Pool::Weights::equal)
        ->ArgName("backends")
        ->Arg(1'000)
        ->Unit(benchmark::kMicrosecond);
    benchmark::RegisterBenchmark(("build_odd_weights/" + called).c_str(), build, algorithm, Pool::Weights::odd)
        ->ArgName("backends")
        ->Arg(1'000)
        ->Unit(benchmark::kMicrosecond);
  }
  return 0;
}();

}  // namespace
