// Numbers for people: latencies, rates, sizes and counts.
#pragma once

#include <cstdint>
#include <string>

#include "usher/base/clock.h"

namespace usher::bench {

/// Three digits that count: "850ns", "42.1us", "1.24ms", "12.4s".
std::string latency_text(Duration latency);
/// The same of any number of seconds; REQUIRES no NaN.
std::string seconds_text(double seconds);
/// "1,234,567"
std::string count_text(std::uint64_t count);
/// A number a second: "12,345", below a hundred "12.3".
std::string rate_text(double per_second);
/// "512 B", "1.50 KiB", "20.0 GiB".
std::string bytes_text(double bytes);

}  // namespace usher::bench
