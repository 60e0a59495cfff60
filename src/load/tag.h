// LoadTag: what rides in a completion's user_data: which operation, of which connection.
#pragma once

#include <cstdint>

namespace usher::load {

enum class LoadOp : std::uint8_t { accept, connect, send, receive, cancel };

/// No generation: a slot is used again only when the kernel owes it nothing.
struct LoadTag {
  LoadOp op;
  std::uint32_t slot;

  [[nodiscard]] std::uint64_t pack() const noexcept {
    return std::uint64_t{static_cast<std::uint8_t>(op)} << 32 | slot;
  }
  static LoadTag unpack(std::uint64_t user) noexcept {
    return {static_cast<LoadOp>(user >> 32 & 0xff), static_cast<std::uint32_t>(user)};
  }
};

}  // namespace usher::load
