// Hashing for picking: eight bytes a step, each mixed in by mix64.
#include "usher/base/hash.h"

#include <bit>
#include <cstring>

namespace usher {

std::uint64_t hash_bytes(std::span<const std::uint8_t> bytes, std::uint64_t seed) noexcept {
  static_assert(std::endian::native == std::endian::little, "two ushers must agree on hashes: load words as little endian");
  std::uint64_t state = mix64(seed ^ (bytes.size() * 0x9e3779b97f4a7c15ULL));
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    state = mix64(state ^ word) + 0x9e3779b97f4a7c15ULL;
  }
  if (at < bytes.size()) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, bytes.size() - at);
    state = mix64(state ^ word) + 0x9e3779b97f4a7c15ULL;
  }
  return mix64(state);
}

}  // namespace usher
