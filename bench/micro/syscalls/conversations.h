// Conversations: many TCP connections on loopback, on each a client that asks and a near end that answers, 64 bytes each way.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "syscalls/door.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher::micro {

/// One thread. To ask, take, answer and take by turns makes an acknowledgement ride on what goes the other way, as it does behind a
/// balancer. Where messages go one way only, each receive sends an acknowledgement, which costs several times as much as the rest.
class Conversations {
 public:
  static constexpr std::size_t message_bytes = 64;

  static Result<Conversations> open(std::size_t count);

  /// The ends that are measured: non-blocking, TCP_NODELAY, cubic.
  [[nodiscard]] std::span<const Fd> near() const noexcept { return near_; }

  /// A question comes to each near end; returns when it waits there.
  Result<void> ask();
  Result<void> take_questions();
  Result<void> answer();
  /// Waits for the answers, and takes them.
  Result<void> take_answers();

 private:
  Conversations(Door door, std::vector<Fd> near) noexcept : door_(std::move(door)), near_(std::move(near)) {}

  Door door_;
  std::vector<Fd> near_;
};

}  // namespace usher::micro
