// What reading a configuration costs: the shipped one, and pools of 10 to 1,000 backends, good or full of mistakes.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>

#include "micro.h"
#include "usher/config/config.h"

namespace {

using namespace usher;

std::string with_backends(std::int64_t count, std::string_view weight) {
  std::string text =
      "[[listener]]\nname = \"web\"\nbind = [\"0.0.0.0:80\"]\npool = \"app\"\n[[pool]]\nname = \"app\"\nalgorithm = \"maglev\"\n";
  for (std::int64_t number = 0; number < count; ++number) {
    text += fmt::format("[[pool.backend]]\nname = \"b{}\"\naddress = \"10.0.{}.{}:8000\"\nweight = {}\n", number, number / 250,
                        number % 250 + 1, weight);
  }
  return text;
}

void parse_shipped(benchmark::State& state) {
  std::ifstream file(USHER_SOURCE_DIR "/conf/usher.toml");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (auto _ : state) {
    Parsed parsed = parse_config(text, "usher.toml");
    if (!parsed.config) return micro::broken(state, "conf/usher.toml can't be read, or is refused");
    benchmark::DoNotOptimize(parsed);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(parse_shipped)->Unit(benchmark::kMicrosecond);

void parse_backends(benchmark::State& state) {
  const std::string text = with_backends(state.range(0), "100");
  for (auto _ : state) {
    Parsed parsed = parse_config(text, "usher.toml");
    if (!parsed.config) return micro::broken(state, "refused: " + parsed.problems.front().text());
    benchmark::DoNotOptimize(parsed);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(parse_backends)->ArgName("backends")->Arg(10)->Arg(100)->Arg(1'000)->Unit(benchmark::kMicrosecond);

/// Every backend's weight is wrong, so every one makes a diagnostic.
void parse_mistakes(benchmark::State& state) {
  const std::string text = with_backends(state.range(0), "-1");
  for (auto _ : state) {
    Parsed parsed = parse_config(text, "usher.toml");
    if (parsed.problems.empty()) return micro::broken(state, "nothing was found wrong");
    benchmark::DoNotOptimize(parsed);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(parse_mistakes)->ArgName("backends")->Arg(10)->Arg(100)->Arg(1'000)->Unit(benchmark::kMicrosecond);

}  // namespace
