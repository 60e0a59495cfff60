// Hash and Rng: the same everywhere and for ever, and evenly spread.
#include "usher/base/hash.h"

#include <array>
#include <bit>
#include <catch2/catch_get_random_seed.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "usher/base/rng.h"

using namespace usher;

TEST_CASE("mix64 is SplitMix64's finaliser") {
  // The first outputs of SplitMix64 from seed 0, as published with it.
  CHECK(mix64(0x9e3779b97f4a7c15ULL) == 0xe220a8397b1dcdafULL);
  CHECK(mix64(0x3c6ef372fe94f82aULL) == 0x6e789e6aa1b965f4ULL);
  static_assert(mix64(0) == 0);
}

TEST_CASE("two releases agree on hashes: these stay") {
  CHECK(hash_text("") == 0x0000000000000000ULL);
  CHECK(hash_text("a") == 0xe9fc4ef02d601d17ULL);
  CHECK(hash_text("backend-1") == 0x87545057a298f601ULL);
  CHECK(hash_text("backend-1", 1) == 0x8dff96a3daa7c2d6ULL);
  CHECK(hash_text("10.0.0.11:8000, and sixteen bytes more") == 0x1f6cbe465a53f213ULL);
}

TEST_CASE("length, seed and trailing zeroes all count") {
  const std::array<std::uint8_t, 24> zeroes{};
  std::set<std::uint64_t> seen;
  for (std::size_t length = 0; length <= zeroes.size(); ++length) {
    seen.insert(hash_bytes(std::span(zeroes).first(length)));
    seen.insert(hash_bytes(std::span(zeroes).first(length), 1));
  }
  CHECK(seen.size() == 50);
}

TEST_CASE("where bytes lie doesn't matter, only what they are") {
  const std::string text = "a text that is longer than two words";
  std::vector<char> shifted(text.size() + 8);
  for (std::size_t offset = 0; offset < 8; ++offset) {
    std::copy(text.begin(), text.end(), shifted.begin() + static_cast<std::ptrdiff_t>(offset));
    CHECK(hash_text({shifted.data() + offset, text.size()}) == hash_text(text));
  }
}

TEST_CASE("each bit of the input moves about half of the bits of the hash") {
  for (const std::size_t length : {1, 4, 8, 11, 16, 18}) {
    std::vector<std::uint8_t> bytes(length, 0x5a);
    const std::uint64_t before = hash_bytes(bytes);
    int moved = 0;
    for (std::size_t bit = 0; bit < 8 * length; ++bit) {
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
      const int these = std::popcount(before ^ hash_bytes(bytes));
      CHECK(these >= 10);
      moved += these;
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    }
    const double mean = static_cast<double>(moved) / (8.0 * static_cast<double>(length));
    CAPTURE(length, mean);
    CHECK(std::abs(mean - 32.0) < 4.0);
  }
}

TEST_CASE("names that differ in a digit spread evenly over a few slots") {
  std::array<int, 16> slots{};
  for (int number = 0; number < 16'000; ++number) ++slots[hash_text("backend-" + std::to_string(number)) >> 60];
  for (const int slot : slots) CHECK(std::abs(slot - 1'000) < 200);
}

TEST_CASE("the same seed gives the same numbers for ever") {
  Rng rng(42);
  CHECK(rng() == 0x15780b2e0c2ec716ULL);
  CHECK(rng() == 0x6104d9866d113a7eULL);
  Rng a(7);
  Rng b(7);
  Rng other(8);
  int same = 0;
  for (int at = 0; at < 100; ++at) {
    const std::uint64_t number = a();
    CHECK(number == b());
    same += number == other() ? 1 : 0;
  }
  CHECK(same == 0);
}

TEST_CASE("below stays below, reaches every value, and is even") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng rng(seed);
  CHECK(rng.below(0) == 0);
  CHECK(rng.below(1) == 0);
  std::array<int, 7> hits{};
  for (int at = 0; at < 70'000; ++at) ++hits.at(rng.below(7));
  for (const int hit : hits) CHECK(std::abs(hit - 10'000) < 600);  // six standard deviations
  for (int at = 0; at < 1'000; ++at) CHECK(rng.below(std::uint64_t{1} << 63) < std::uint64_t{1} << 63);
}

TEST_CASE("unit is at least 0, below 1, and a half on average") {
  const std::uint32_t seed = Catch::getSeed();
  CAPTURE(seed);
  Rng rng(seed);
  double sum = 0;
  double least = 1;
  double most = 0;
  for (int at = 0; at < 100'000; ++at) {
    const double number = rng.unit();
    sum += number;
    least = std::min(least, number);
    most = std::max(most, number);
  }
  CHECK(least >= 0.0);
  CHECK(least < 0.001);
  CHECK(most < 1.0);
  CHECK(most > 0.999);
  CHECK(std::abs(sum / 100'000 - 0.5) < 0.006);
}
