// Tag: what rides in user_data. Not a pointer: a late answer to a reused slot is stale, counted and dropped.
#pragma once

#include <cstdint>

#include "usher/relay/session.h"

namespace usher {

enum class Op : std::uint8_t { wake, accept, poll, move, cancel };

/// op 4 bits, side 1, spare 3, generation 24, slot 32.
struct Tag {
  Op op = Op::wake;
  Side side = Side::client;
  std::uint32_t generation = 0;
  std::uint32_t slot = 0;

  [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
    return std::uint64_t{slot} | (std::uint64_t{generation & 0xffffffU} << 32) | (static_cast<std::uint64_t>(side) << 59) |
           (static_cast<std::uint64_t>(op) << 60);
  }
  [[nodiscard]] static constexpr Tag unpack(std::uint64_t word) noexcept {
    return Tag{static_cast<Op>(word >> 60), static_cast<Side>((word >> 59) & 1), static_cast<std::uint32_t>(word >> 32) & 0xffffffU,
               static_cast<std::uint32_t>(word)};
  }
  friend constexpr bool operator==(const Tag&, const Tag&) = default;
};
static_assert(Tag::unpack(Tag{Op::cancel, Side::backend, 0xabcdef, 0x12345678}.pack()) ==
              Tag{Op::cancel, Side::backend, 0xabcdef, 0x12345678});

}  // namespace usher
