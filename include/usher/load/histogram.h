// Histogram: how often each duration was seen, in bounded memory. After Gil Tene's HdrHistogram.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "usher/base/clock.h"

namespace usher::load {

/// Buckets as in HdrHistogram (hdrhistogram.org): linear in each power of two, 2^sub_bucket_bits to one, from 1 ns to
/// 137 s; what is longer is counted in the last bucket, and max() still tells it truly. Its memory is taken by the
/// constructor; nothing else allocates. A value; not thread safe.
template <unsigned sub_bucket_bits>
class BasicHistogram {
 public:
  static constexpr unsigned value_bits = 37;
  static constexpr std::size_t bucket_count = std::size_t{value_bits - sub_bucket_bits + 1} << sub_bucket_bits;

  BasicHistogram() : buckets_(bucket_count) {}

  void add(Duration took) noexcept;
  void merge(const BasicHistogram& other) noexcept;
  void clear() noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] Duration min() const noexcept { return count_ == 0 ? Duration::zero() : Duration(min_); }
  [[nodiscard]] Duration max() const noexcept { return Duration(max_); }
  [[nodiscard]] Duration mean() const noexcept;
  /// What was added since `earlier`, an older copy of this one; min() and max() are then those of the buckets, at most
  /// this one's.
  [[nodiscard]] BasicHistogram since(const BasicHistogram& earlier) const;
  /// By nearest rank: of 100, the 99th smallest is the 99th percentile. The upper end of its bucket, at most max();
  /// zero of none.
  [[nodiscard]] Duration percentile(double share) const noexcept;
  /// The percentile, where at least ten durations lie beyond it: fewer would make it the tale of one request.
  [[nodiscard]] std::optional<Duration> settled_percentile(double share) const noexcept;

  /// (upper end, count) of each bucket that isn't empty, the shortest first.
  [[nodiscard]] std::vector<std::pair<Duration, std::uint64_t>> filled() const;

 private:
  static std::size_t bucket_of(std::uint64_t ns) noexcept;
  static std::uint64_t upper_end(std::size_t bucket) noexcept;

  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::int64_t min_ = 0;
  std::int64_t max_ = 0;
  double sum_ns_ = 0;
};

/// True to one part in 1,024; 224 KiB.
using Histogram = BasicHistogram<10>;
/// True to 3 %; 8 KiB, for what keeps many.
using CoarseHistogram = BasicHistogram<5>;
extern template class BasicHistogram<10>;
extern template class BasicHistogram<5>;

}  // namespace usher::load
