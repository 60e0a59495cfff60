// The mover by message size: ways to take a message from one socket to another, side by side. README.md says what is timed.
#include <benchmark/benchmark.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "micro.h"
#include "mover/move.h"
#include "mover/route.h"

namespace {

using namespace usher;
using namespace usher::micro;

using Make = std::function<Made(const Fd& source, const Fd& target)>;

/// Windows and buffers grow with what passes: let them, before anything is timed.
constexpr int warm_up_messages = 8;

void move_messages(benchmark::State& state, const Make& make) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  auto route = Route::open();
  if (!route) return broken(state, route.error().message);
  const Made made = make(route->source(), route->target());
  if (made.move == nullptr) return not_here(state, made.not_here);
  for (int i = 0; i < warm_up_messages; ++i) {
    if (const auto passed = route->pass(*made.move, Route::message_bytes_max); !passed) return broken(state, passed.error().message);
  }
  std::uint64_t turns = 0;
  std::uint64_t late = 0;
  for (auto _ : state) {
    const auto passed = route->pass(*made.move, bytes);
    if (!passed) return broken(state, passed.error().message);
    state.SetIterationTime(std::chrono::duration<double>(passed->moving).count());
    turns += passed->turns;
    late += passed->late ? 1 : 0;
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
  state.counters["turns"] = benchmark::Counter(static_cast<double>(turns), benchmark::Counter::kAvgIterations);
  state.counters["late"] = benchmark::Counter(static_cast<double>(late), benchmark::Counter::kAvgIterations);
  state.SetLabel(made.move->label());
}

Make with(Made (*make)(const Fd&, const Fd&, std::size_t), std::size_t bytes) {
  return [=](const Fd& source, const Fd& target) { return make(source, target, bytes); };
}

constexpr std::size_t kib = 1024;

const int registered = [] {
  const std::vector<std::pair<std::string, Make>> ways = {
      {"splice_pipe_64KiB", with(make_splice, 64 * kib)},
      {"splice_pipe_1MiB", with(make_splice, 1024 * kib)},
      {"recv_send_16KiB", with(make_recv_send, 16 * kib)},
      {"recv_send_64KiB", with(make_recv_send, 64 * kib)},
      {"recv_send_256KiB", with(make_recv_send, 256 * kib)},
      {"peek_send", make_peek_send},
      {"pump", make_pump},
      {"ring_splice_pipe_64KiB", with(make_ring_splice, 64 * kib)},
      {"ring_splice_pipe_1MiB", with(make_ring_splice, 1024 * kib)},
      {"ring_recv_send_64KiB", with(make_ring_recv_send, 64 * kib)},
      {"ring_recv_send_256KiB", with(make_ring_recv_send, 256 * kib)},
      {"ring_recv_bundle", make_ring_recv_bundle},
      {"ring_send_zero_copy", make_ring_send_zero_copy},
  };
  for (const auto& [called, make] : ways) {
    auto* const bench = benchmark::RegisterBenchmark(called.c_str(), move_messages, make);
    bench->ArgName("bytes")->Arg(64)->Arg(512)->Arg(4 * kib)->Arg(16 * kib)->Arg(64 * kib)->Arg(256 * kib)->Arg(1024 * kib);
    bench->UseManualTime()->Unit(benchmark::kMicrosecond);
  }
  return 0;
}();

}  // namespace
