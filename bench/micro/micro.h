// What every micro-benchmark program shares: how to say that something failed, or can't run here.
#pragma once

#include <benchmark/benchmark.h>

#include <string>

namespace usher::micro {

inline constexpr char not_here_prefix[] = "not here: ";

/// This machine lacks what the benchmark needs; `why` names it. The program goes on, and doesn't fail for it.
inline void not_here(benchmark::State& state, const std::string& why) { state.SkipWithError((not_here_prefix + why).c_str()); }

/// What was measured went wrong: the program will end with status 1.
inline void broken(benchmark::State& state, const std::string& why) { state.SkipWithError(why.c_str()); }

}  // namespace usher::micro
