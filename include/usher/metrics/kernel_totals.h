// What eBPF counts about a backend, whichever datapath its connections take: plain numbers, taken at one moment.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "usher/base/clock.h"

namespace usher {

/// A value. `in` is towards the backend. What the proxy dials counts the streams' own bytes, what the kernel datapath forwards the bytes of
/// its IP packets; the two are summed.
struct KernelTotals {
  static constexpr std::size_t bucket_count = 32;

  std::uint64_t tried = 0;
  std::uint64_t established = 0;
  std::uint64_t refused = 0;  ///< a reset for an answer to the SYN
  std::uint64_t syn_retransmits = 0;
  std::uint64_t retransmits = 0;
  std::uint64_t resets = 0;  ///< of established connections, by either side
  std::uint64_t packets_in = 0, bytes_in = 0;
  std::uint64_t packets_out = 0, bytes_out = 0;
  /// From the SYN to its answer: bucket b counts what took from 2^b up to 2^(b+1) microseconds; the first also less, the last also more.
  std::array<std::uint64_t, bucket_count> connect{};
  std::uint64_t flows = 0;  ///< that the kernel datapath forwards now: the only one that isn't a sum

  friend bool operator==(const KernelTotals&, const KernelTotals&) = default;

  /// The upper end of the bucket in which the connection stands that `share` (0 to 1) of all are not slower than. Empty: none was timed.
  [[nodiscard]] std::optional<Duration> connect_quantile(double share) const noexcept;
  /// How long all of them took: each reckoned as the middle of its bucket, as the kernel keeps no sum.
  [[nodiscard]] double connect_seconds_about() const noexcept;
  [[nodiscard]] static Duration upper_end(std::size_t bucket) noexcept { return std::chrono::microseconds(std::int64_t{2} << bucket); }
};

}  // namespace usher
