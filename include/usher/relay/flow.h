// Flow: one direction of a session as a pure machine. It knows what to do next and never does it.
#pragma once

#include <cassert>
#include <cstdint>

namespace usher {

enum class Want : std::uint8_t {
  fill,     ///< move bytes from the source into the pipe
  drain,    ///< move the pipe's bytes to the target
  finish,   ///< the source has ended and nothing rests: pass its FIN on (shutdown(2), SHUT_WR)
  source,   ///< wait until the source is readable
  target,   ///< wait until the target is writable
  nothing,  ///< this direction is over
};

/// A value, no system calls in it. Law 2: filled = drained + piped, as long as the flow isn't abandoned.
///
///     open --source_ended--> ending --finished--> over
///       \__________ abandoned ___________________/
///
/// Only an empty pipe is filled, so EAGAIN from a fill means that the source is dry. A FIN behind bytes that rest in the
/// pipe waits for them.
class Flow {
 public:
  [[nodiscard]] Want want(bool source_ready, bool target_ready) const noexcept {
    switch (stage_) {
      case Stage::open:
        if (piped_ != 0) return target_ready ? Want::drain : Want::target;
        return source_ready ? Want::fill : Want::source;
      case Stage::ending:
        if (piped_ != 0) return target_ready ? Want::drain : Want::target;
        return Want::finish;
      case Stage::over: return Want::nothing;
    }
    return Want::nothing;
  }

  /// REQUIRES: want() was fill; `bytes` > 0.
  void filled(std::uint32_t bytes) noexcept {
    assert(stage_ == Stage::open && piped_ == 0 && bytes > 0);
    piped_ = bytes;
    filled_ += bytes;
  }
  /// REQUIRES: `bytes` <= piped().
  void drained(std::uint32_t bytes) noexcept {
    assert(bytes <= piped_);
    piped_ -= bytes;
  }
  void source_ended() noexcept {
    if (stage_ == Stage::open) stage_ = Stage::ending;
  }
  /// The FIN was passed on. REQUIRES: want() was finish.
  void finished() noexcept {
    assert(stage_ == Stage::ending && piped_ == 0);
    stage_ = Stage::over;
  }
  /// The target takes nothing any more: answers how many bytes rest in the pipe and will never arrive.
  std::uint32_t abandon() noexcept {
    const std::uint32_t lost = piped_;
    piped_ = 0;
    filled_ -= lost;
    stage_ = Stage::over;
    return lost;
  }

  [[nodiscard]] bool over() const noexcept { return stage_ == Stage::over; }
  [[nodiscard]] bool open() const noexcept { return stage_ == Stage::open; }
  [[nodiscard]] std::uint32_t piped() const noexcept { return piped_; }
  /// Bytes that reached the target.
  [[nodiscard]] std::uint64_t delivered() const noexcept { return filled_ - piped_; }

 private:
  enum class Stage : std::uint8_t { open, ending, over };
  std::uint64_t filled_ = 0;
  std::uint32_t piped_ = 0;
  Stage stage_ = Stage::open;
};
static_assert(sizeof(Flow) == 16);

}  // namespace usher
