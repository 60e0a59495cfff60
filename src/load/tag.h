// LoadTag: what rides in a completion's user_data: which operation, of which connection; and reading it back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "usher/ring/ring.h"

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

/// Takes all that is completed off the ring; `act` gets the tag and the answer of each.
template <typename Act>
void reap_tagged(Ring& ring, Act act) {
  std::array<Completion, 128> batch;
  std::size_t count = 0;
  do {
    count = ring.reap(batch);
    for (const Completion& answer : std::span(batch).first(count)) act(LoadTag::unpack(answer.user), answer);
  } while (count == batch.size());
}

}  // namespace usher::load
