// Turns: weights laid out in time, so that each takes its share at even distances.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "usher/policy/backend.h"

namespace usher {

/// A position in a tier, small, as tables of many thousands hold it.
using Position = std::uint16_t;
static_assert(backend_count_max <= 65536, "a Position must hold any");

/// Each weight w has its k-th turn in round floor((k + 1/2) * unit / w); all turns in rounds below `rounds`, by round,
/// then by position. With the sum as unit a round holds about one turn; with the largest weight, it holds the largest's
/// one.
std::vector<Position> spaced_turns(std::span<const std::uint32_t> weights, std::uint64_t unit, std::uint32_t rounds);

/// Smooth weighted round robin: a sequence to go round in, in which each has its share (exactly, while the weights over
/// their gcd sum up to no more than smooth_length_max or 64 each), with its turns spread out. The order is nginx's
/// (ngx_stream_upstream_get_peer: all gain their weight, the richest serves and pays the sum) wherever that is
/// affordable to lay out ahead, else spaced_turns'.
std::vector<Position> smooth_sequence(std::span<const std::uint32_t> weights);
inline constexpr std::uint64_t smooth_length_max = 65536;

}  // namespace usher
