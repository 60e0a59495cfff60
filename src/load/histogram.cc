// Histogram: a value's power of two and its next bits choose the bucket.
#include "usher/load/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace usher::load {
namespace {

template <unsigned bits>
constexpr std::uint64_t sub_buckets = std::uint64_t{1} << bits;
constexpr double samples_beyond_min = 10;

}  // namespace

template <unsigned bits>
std::size_t BasicHistogram<bits>::bucket_of(std::uint64_t ns) noexcept {
  const std::uint64_t value = std::min(ns, (std::uint64_t{1} << value_bits) - 1);
  const auto width = static_cast<unsigned>(std::bit_width(value));
  const unsigned shift = width > bits + 1 ? width - bits - 1 : 0;
  // The shifted value keeps its leading bit, so each power of two begins where the one before ended.
  return static_cast<std::size_t>(shift * sub_buckets<bits> + (value >> shift));
}

template <unsigned bits>
std::uint64_t BasicHistogram<bits>::upper_end(std::size_t bucket) noexcept {
  if (bucket < 2 * sub_buckets<bits>) return bucket;
  const std::uint64_t shift = bucket / sub_buckets<bits> - 1;
  return ((bucket - shift * sub_buckets<bits> + 1) << shift) - 1;
}

template <unsigned bits>
void BasicHistogram<bits>::add(Duration took) noexcept {
  const std::int64_t ns = std::max<std::int64_t>(took.count(), 0);
  ++buckets_[bucket_of(static_cast<std::uint64_t>(ns))];
  min_ = count_ == 0 ? ns : std::min(min_, ns);
  max_ = std::max(max_, ns);
  sum_ns_ += static_cast<double>(ns);
  ++count_;
}

template <unsigned bits>
void BasicHistogram<bits>::merge(const BasicHistogram& other) noexcept {
  if (other.count_ == 0) return;
  for (std::size_t i = 0; i < bucket_count; ++i) buckets_[i] += other.buckets_[i];
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ns_ += other.sum_ns_;
  count_ += other.count_;
}

template <unsigned bits>
void BasicHistogram<bits>::clear() noexcept {
  std::ranges::fill(buckets_, 0);
  count_ = 0;
  min_ = max_ = 0;
  sum_ns_ = 0;
}

template <unsigned bits>
Duration BasicHistogram<bits>::mean() const noexcept {
  return count_ == 0 ? Duration::zero() : Duration(static_cast<std::int64_t>(sum_ns_ / static_cast<double>(count_)));
}

template <unsigned bits>
BasicHistogram<bits> BasicHistogram<bits>::since(const BasicHistogram& earlier) const {
  BasicHistogram difference;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    difference.buckets_[i] = buckets_[i] - earlier.buckets_[i];
    if (difference.buckets_[i] == 0) continue;
    const auto end = i + 1 == bucket_count ? max_ : static_cast<std::int64_t>(upper_end(i));
    if (difference.count_ == 0) difference.min_ = std::min(end, max_);
    difference.max_ = std::min(end, max_);
    difference.count_ += difference.buckets_[i];
  }
  difference.sum_ns_ = sum_ns_ - earlier.sum_ns_;
  return difference;
}

template <unsigned bits>
Duration BasicHistogram<bits>::percentile(double share) const noexcept {
  if (count_ == 0) return Duration::zero();
  // 0.99 * 100 is a little above 99 in binary: without the allowance it would ask for the 100th.
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_) * (1 - 1e-12));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    seen += buckets_[i];
    if (seen >= rank)
      return i + 1 == bucket_count ? max() : std::min(max(), Duration(static_cast<std::int64_t>(upper_end(i))));
  }
  return max();
}

template <unsigned bits>
std::optional<Duration> BasicHistogram<bits>::settled_percentile(double share) const noexcept {
  if ((1 - share) * static_cast<double>(count_) < samples_beyond_min * (1 - 1e-9)) return std::nullopt;
  return percentile(share);
}

template <unsigned bits>
std::vector<std::pair<Duration, std::uint64_t>> BasicHistogram<bits>::filled() const {
  std::vector<std::pair<Duration, std::uint64_t>> found;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    if (buckets_[i] != 0) found.emplace_back(Duration(static_cast<std::int64_t>(upper_end(i))), buckets_[i]);
  }
  return found;
}

template class BasicHistogram<10>;
template class BasicHistogram<5>;

}  // namespace usher::load
