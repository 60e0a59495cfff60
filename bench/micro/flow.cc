// What a Flow costs: the pure part of moving bytes, which stands beside each system call.
#include <benchmark/benchmark.h>

#include <vector>

#include "micro.h"
#include "usher/relay/flow.h"

namespace {

using namespace usher;

/// One turn as a pump asks for it: fill, drain, and the answer that there is nothing more. Over many flows, as a worker has them:
/// with 100,000 none of them is in a cache that is near.
void turn(benchmark::State& state) {
  std::vector<Flow> flows(static_cast<std::size_t>(state.range(0)));
  std::size_t at = 0;
  for (auto _ : state) {
    Flow& flow = flows[at];
    at = (at + 7919) % flows.size();
    if (flow.want(true, true) == Want::fill) flow.filled(4'096);
    if (flow.want(true, true) == Want::drain) flow.drained(4'096);
    benchmark::DoNotOptimize(flow.want(false, true));
  }
  if (flows[0].delivered() == 0 || flows[0].piped() != 0) micro::broken(state, "the first flow moved nothing");
}
BENCHMARK(turn)->ArgName("flows")->Arg(1)->Arg(1'000)->Arg(100'000);

/// A whole life: a turn, the end of the source, the FIN passed on.
void life(benchmark::State& state) {
  for (auto _ : state) {
    Flow flow;
    benchmark::DoNotOptimize(flow);
    if (flow.want(true, true) == Want::fill) flow.filled(4'096);
    if (flow.want(true, true) == Want::drain) flow.drained(4'096);
    flow.source_ended();
    if (flow.want(false, true) == Want::finish) flow.finished();
    bool over = flow.over();
    benchmark::DoNotOptimize(over);
    if (!over) return micro::broken(state, "the flow isn't over");
  }
}
BENCHMARK(life);

}  // namespace
