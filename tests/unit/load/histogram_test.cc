// Histogram: true to three digits everywhere, and honest about what it can't know.
#include "usher/load/histogram.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <vector>

#include "usher/base/rng.h"

using namespace usher;
using namespace usher::load;
using namespace std::chrono_literals;

TEST_CASE("one duration comes back true to one part in 1,024, from a nanosecond to two minutes") {
  Rng rng(1);
  for (int i = 0; i < 20'000; ++i) {
    const Duration value(static_cast<std::int64_t>(std::exp(rng.unit() * std::log(1.3e11))));
    Histogram histogram;
    if (i > 200 && i % 50 != 0) continue;  // a histogram each is what takes time
    histogram.add(value);
    histogram.add(value * 2);  // so that max() doesn't answer for it
    const Duration found = histogram.percentile(0.5);
    CAPTURE(value.count(), found.count());
    CHECK(found >= value);
    CHECK(static_cast<double>((found - value).count()) <= static_cast<double>(value.count()) / 1024);
  }
}

TEST_CASE("percentiles are those of the sorted list, to the width of a bucket") {
  Rng rng(7);
  Histogram histogram;
  std::vector<std::int64_t> all;
  for (int i = 0; i < 50'000; ++i) {
    all.push_back(static_cast<std::int64_t>(1000 / (1e-4 + rng.unit())));  // a long tail
    histogram.add(Duration(all.back()));
  }
  std::ranges::sort(all);
  for (const double share : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
    const auto rank = std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(share * 50'000 - 1e-6)));
    const double truth = static_cast<double>(all[rank - 1]);
    CAPTURE(share);
    CHECK(static_cast<double>(histogram.percentile(share).count()) >= truth);
    CHECK(static_cast<double>(histogram.percentile(share).count()) <= truth * (1 + 1.0 / 1024) + 1);
  }
  CHECK(histogram.min().count() == all.front());
  CHECK(histogram.max().count() == all.back());
}

TEST_CASE("merged parts are the whole") {
  Rng rng(3);
  Histogram whole;
  Histogram parts[3];
  for (int i = 0; i < 3000; ++i) {
    const Duration value(static_cast<std::int64_t>(rng.below(10'000'000)));
    whole.add(value);
    parts[i % 3].add(value);
  }
  Histogram sum;
  sum.merge(Histogram());
  for (const Histogram& part : parts) sum.merge(part);
  CHECK(sum.filled() == whole.filled());
  CHECK(sum.count() == 3000);
  CHECK(sum.min() == whole.min());
  CHECK(sum.max() == whole.max());
  CHECK(sum.mean() == whole.mean());
}

TEST_CASE("what is longer than the last bucket is counted there, and max tells it") {
  Histogram histogram;
  histogram.add(10h);
  histogram.add(1us);
  CHECK(histogram.count() == 2);
  CHECK(histogram.percentile(1.0) == 10h);
  CHECK(histogram.percentile(0.5) == 1us);
}

TEST_CASE("nothing, zero and less than zero") {
  Histogram histogram;
  CHECK(histogram.percentile(0.5) == 0ns);
  CHECK(histogram.mean() == 0ns);
  CHECK(histogram.filled().empty());
  histogram.add(-5ns);
  histogram.add(0ns);
  CHECK(histogram.count() == 2);
  CHECK(histogram.percentile(1) == 0ns);
  histogram.clear();
  CHECK(histogram.count() == 0);
  CHECK(histogram.filled().empty());
}

TEST_CASE("a percentile that fewer than ten lie beyond isn't told") {
  Histogram histogram;
  for (int i = 0; i < 999; ++i) histogram.add(1ms);
  CHECK_FALSE(histogram.settled_percentile(0.99));
  CHECK(histogram.settled_percentile(0.9));
  histogram.add(1ms);
  CHECK(histogram.settled_percentile(0.99) == 1ms);
  CHECK_FALSE(histogram.settled_percentile(0.999));
}

TEST_CASE("buckets tile the line: each begins where the one before ended") {
  Histogram histogram;
  Histogram other;
  std::int64_t edge = 2047;
  for (int power = 0; power < 20; ++power) {
    histogram.clear();
    histogram.add(Duration(edge));
    histogram.add(Duration(edge + 1));
    CAPTURE(edge);
    CHECK(histogram.filled().size() == 2);  // the last of one power of two and the first of the next
    CHECK(histogram.filled()[0].first.count() == edge);
    edge = edge * 2 + 1;
  }
}

TEST_CASE("what was added since an earlier copy") {
  CoarseHistogram histogram;
  for (int i = 0; i < 100; ++i) histogram.add(1ms);
  const CoarseHistogram before = histogram;
  CHECK(histogram.since(before).count() == 0);
  CHECK(histogram.since(before).percentile(0.5) == 0ns);
  histogram.add(10s);
  histogram.add(1h);
  const CoarseHistogram added = histogram.since(before);
  CHECK(added.count() == 2);
  CHECK(added.percentile(0.5) >= 10s);
  CHECK(added.percentile(0.5) <= 10'400ms);
  CHECK(added.max() == 1h);
}

TEST_CASE("a coarse histogram is true to 3 %") {
  Rng rng(2);
  for (int i = 0; i < 300; ++i) {
    const Duration value(static_cast<std::int64_t>(60'000 * std::exp(rng.unit() * 11)));
    CoarseHistogram histogram;
    histogram.add(value);
    histogram.add(value * 2);
    CHECK(histogram.percentile(0.5) >= value);
    CHECK(static_cast<double>(histogram.percentile(0.5).count()) <=
          static_cast<double>(value.count()) * (1 + 1.0 / 32));
  }
}
