// Counters, histograms, names and the sheet: what is noted is read back, and untouched rows cost no memory.
#include "usher/metrics/counters.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "usher/base/rng.h"
#include "usher/metrics/exposition.h"

using namespace usher;
using namespace std::chrono_literals;

namespace {

std::size_t resident_pages(const void* start, std::size_t bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  REQUIRE(::mincore(const_cast<void*>(start), bytes, pages.data()) == 0);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return (p & 1) != 0; }));
}

}  // namespace

TEST_CASE("every outcome and every connect failure has a word of its own") {
  std::set<std::string_view> words;
  for (std::size_t i = 0; i < outcome_count; ++i) words.insert(name(static_cast<Outcome>(i)));
  CHECK(words.size() == outcome_count);
  CHECK(name(Outcome::served) == "served");
  CHECK(name(Outcome::bad_client_hello) == "bad_client_hello");
  CHECK(name(Outcome::internal) == "internal");

  words.clear();
  for (std::size_t i = 0; i < connect_failure_count; ++i) words.insert(name(static_cast<ConnectFailure>(i)));
  CHECK(words.size() == connect_failure_count);
  CHECK(name(ConnectFailure::no_local_address) == "no_local_address");
}

TEST_CASE("a duration lands in the first bucket whose bound is above it") {
  DurationHistogram histogram;
  histogram.note(-1ns);
  histogram.note(0ns);
  histogram.note(64us - 1ns);
  CHECK(histogram.bucket(0) == 3);
  histogram.note(64us);
  histogram.note(128us - 1ns);
  CHECK(histogram.bucket(1) == 2);
  histogram.note(128us);
  CHECK(histogram.bucket(2) == 1);
  histogram.note(24h * 365);
  CHECK(histogram.bucket(DurationHistogram::bucket_count - 1) == 1);
}

TEST_CASE("random durations: totals hold every one, in the bucket that its bounds say") {
  constexpr std::uint64_t seed = 20240611;
  CAPTURE(seed);
  Rng rng(seed);
  DurationHistogram histogram;
  std::array<std::uint64_t, DurationHistogram::bucket_count> expected{};
  std::uint64_t sum_ns = 0;
  for (int i = 0; i < 10000; ++i) {
    const auto ns = rng() >> (rng.below(40) + 18);
    sum_ns += ns;
    std::size_t bucket = 0;
    while (bucket + 1 < expected.size() && ns >= (std::uint64_t{64000} << bucket)) ++bucket;
    ++expected[bucket];
    histogram.note(Duration(ns));
  }
  HistogramTotals totals;
  totals.add(histogram);
  CHECK(totals.buckets == expected);
  CHECK(totals.sum_ns == sum_ns);
  CHECK(totals.count() == 10000);

  HistogramTotals twice = totals;
  twice.add(totals);
  CHECK(twice.count() == 20000);
  CHECK(twice.sum_ns == 2 * sum_ns);
  CHECK(twice.buckets[3] == 2 * expected[3]);
}

TEST_CASE("a sheet's rows start at zero, are apart from each other, and reach to the last id") {
  Sheet sheet;
  CHECK(sheet.listener(Sheet::listener_rows - 1).accepted.get() == 0);
  CHECK(sheet.backend(Sheet::backend_rows - 1).connect_duration.sum_ns() == 0);
  sheet.listener(7).accepted.add(3);
  sheet.backend(Sheet::backend_rows - 1).connect_duration.note(1s);
  sheet.listener(Sheet::listener_rows - 1).closed[outcome_count - 1].add();
  CHECK(sheet.listener(7).accepted.get() == 3);
  CHECK(sheet.listener(6).accepted.get() == 0);
  CHECK(sheet.listener(8).accepted.get() == 0);
  CHECK(sheet.backend(Sheet::backend_rows - 1).connect_duration.sum_ns() == 1'000'000'000);
  CHECK(sheet.listener(Sheet::listener_rows - 1).closed[outcome_count - 1].get() == 1);
}

TEST_CASE("untouched rows of a sheet are not resident") {
  Sheet sheet;
  const void* rows = &sheet.backend(0);
  constexpr std::size_t bytes = sizeof(BackendCounters) * Sheet::backend_rows;
  CHECK(resident_pages(rows, bytes) == 0);
  sheet.backend(0).connections.add();
  sheet.backend(Sheet::backend_rows / 2).connections.add();
  CHECK(resident_pages(rows, bytes) >= 2);
  CHECK(resident_pages(rows, bytes) <= 4);  // a row may lie across two pages
}

TEST_CASE("a reader sees a counter grow while its one writer counts") {
  constexpr std::uint64_t rounds = 200000;
  Sheet sheet;
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < rounds; ++i) sheet.listener(0).accepted.add();
    done = true;
  });
  std::uint64_t last = 0;
  bool grew_only = true;
  while (!done) {
    const std::uint64_t now = sheet.listener(0).accepted.get();
    grew_only = grew_only && now >= last;
    last = now;
  }
  writer.join();
  CHECK(grew_only);
  CHECK(sheet.listener(0).accepted.get() == rounds);
}

TEST_CASE("worker totals carry every counter to the member of the same name") {
  WorkerCounters counters;
  std::uint64_t n = 0;
  for (Counter* counter :
       {&counters.turns, &counters.completions, &counters.operations_submitted, &counters.operations_completed,
        &counters.operations_in_flight, &counters.stale_completions, &counters.bytes_filled, &counters.bytes_drained,
        &counters.bytes_piped, &counters.bytes_discarded, &counters.pipes_open, &counters.pipes_leased,
        &counters.pipes_short, &counters.accept_errors, &counters.sessions}) {
    counter->add(++n);
  }
  REQUIRE(n == sizeof(WorkerCounters) / sizeof(Counter));  // a new counter wants its line here and in WorkerTotals::of
  const WorkerTotals totals = WorkerTotals::of(5, counters);
  CHECK(totals.index == 5);
  n = 0;
  for (const std::uint64_t value :
       {totals.turns, totals.completions, totals.operations_submitted, totals.operations_completed,
        totals.operations_in_flight, totals.stale_completions, totals.bytes_filled, totals.bytes_drained,
        totals.bytes_piped, totals.bytes_discarded, totals.pipes_open, totals.pipes_leased, totals.pipes_short,
        totals.accept_errors, totals.sessions}) {
    CHECK(value == ++n);
  }
}
