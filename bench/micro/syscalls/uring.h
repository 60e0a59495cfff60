// Uring: an io_uring as a worker sets it up, bare, so that operations can be tried which usher::Ring doesn't offer.
#pragma once

#include <liburing.h>

#include <array>
#include <cstddef>
#include <string>

#include "usher/base/error.h"

namespace usher::micro {

/// One thread. Not movable: liburing keeps pointers into it.
class Uring {
 public:
  enum class Descriptor { registered, looked_up };  ///< io_uring_register_ring_fd(3), or found by its number at every call
  static constexpr unsigned entries = 64;

  explicit Uring(Descriptor descriptor);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  /// "" where it may be used; else what this kernel lacks.
  [[nodiscard]] const std::string& lacks() const noexcept { return lacks_; }
  [[nodiscard]] io_uring* get() noexcept { return &ring_; }
  /// REQUIRES: fewer than `entries` are queued.
  [[nodiscard]] io_uring_sqe* entry() noexcept { return io_uring_get_sqe(&ring_); }

  /// One io_uring_enter(2): hands over what is queued, and waits for `count` answers, a second at most. They are in results() and
  /// flags() then, in the order in which they came. An error where there are fewer, or more.
  Result<void> turn(unsigned count) noexcept;
  [[nodiscard]] int result(std::size_t answer) const noexcept { return results_[answer]; }
  [[nodiscard]] unsigned flags(std::size_t answer) const noexcept { return flags_[answer]; }

 private:
  io_uring ring_{};
  bool set_up_ = false;
  std::string lacks_;
  std::array<int, entries> results_{};
  std::array<unsigned, entries> flags_{};
};

}  // namespace usher::micro
