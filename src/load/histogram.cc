// Histogram: a value's power of two and its next ten bits choose the bucket.
#include "usher/load/histogram.h"

#include <algorithm>
#include <cmath>

namespace usher::load {
namespace {

constexpr std::uint64_t sub_buckets = std::uint64_t{1} << Histogram::sub_bucket_bits;
constexpr std::uint64_t value_max = (std::uint64_t{1} << Histogram::value_bits) - 1;
constexpr double samples_beyond_min = 10;

}  // namespace

std::size_t Histogram::bucket_of(std::uint64_t ns) noexcept {
  const std::uint64_t value = std::min(ns, value_max);
  const auto width = static_cast<unsigned>(std::bit_width(value));
  const unsigned shift = width > sub_bucket_bits + 1 ? width - sub_bucket_bits - 1 : 0;
  // The shifted value keeps its leading bit, so each power of two begins where the one before ended.
  return static_cast<std::size_t>(shift * sub_buckets + (value >> shift));
}

std::uint64_t Histogram::upper_end(std::size_t bucket) noexcept {
  if (bucket < 2 * sub_buckets) return bucket;
  const std::uint64_t shift = bucket / sub_buckets - 1;
  return ((bucket - shift * sub_buckets + 1) << shift) - 1;
}

void Histogram::add(Duration took) noexcept {
  const std::int64_t ns = std::max<std::int64_t>(took.count(), 0);
  ++buckets_[bucket_of(static_cast<std::uint64_t>(ns))];
  min_ = count_ == 0 ? ns : std::min(min_, ns);
  max_ = std::max(max_, ns);
  sum_ns_ += static_cast<double>(ns);
  ++count_;
}

void Histogram::merge(const Histogram& other) noexcept {
  if (other.count_ == 0) return;
  for (std::size_t i = 0; i < bucket_count; ++i) buckets_[i] += other.buckets_[i];
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ns_ += other.sum_ns_;
  count_ += other.count_;
}

void Histogram::clear() noexcept {
  std::ranges::fill(buckets_, 0);
  count_ = 0;
  min_ = max_ = 0;
  sum_ns_ = 0;
}

Duration Histogram::mean() const noexcept {
  return count_ == 0 ? Duration::zero() : Duration(static_cast<std::int64_t>(sum_ns_ / static_cast<double>(count_)));
}

Duration Histogram::percentile(double share) const noexcept {
  if (count_ == 0) return Duration::zero();
  // 0.99 * 100 is a little above 99 in binary: without the allowance it would ask for the 100th.
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_) * (1 - 1e-12));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    seen += buckets_[i];
    if (seen >= rank) return i + 1 == bucket_count ? max() : std::min(max(), Duration(static_cast<std::int64_t>(upper_end(i))));
  }
  return max();
}

std::optional<Duration> Histogram::settled_percentile(double share) const noexcept {
  if ((1 - share) * static_cast<double>(count_) < samples_beyond_min * (1 - 1e-9)) return std::nullopt;
  return percentile(share);
}

std::vector<std::pair<Duration, std::uint64_t>> Histogram::filled() const {
  std::vector<std::pair<Duration, std::uint64_t>> found;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    if (buckets_[i] != 0) found.emplace_back(Duration(static_cast<std::int64_t>(upper_end(i))), buckets_[i]);
  }
  return found;
}

}  // namespace usher::load
