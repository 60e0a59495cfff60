// Units: durations and sizes as people write them, in files and on command lines.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "usher/base/clock.h"
#include "usher/base/error.h"

namespace usher {

/// A whole number and one of us, ms, s, m, h: "250ms", "2s", "10m". No sign, no fraction, no blanks; at most
/// 1,000,000 hours.
Result<Duration> parse_duration(std::string_view text);

/// Bytes: a whole number, alone or with one of B, KiB, MiB, GiB, TiB (1024 each) or kB, MB, GB, TB (1000 each).
Result<std::uint64_t> parse_size(std::string_view text);

/// In the largest unit that says it exactly: "90s", "2m", "0s"; what is below a microsecond is cut.
std::string duration_text(Duration duration);

}  // namespace usher
