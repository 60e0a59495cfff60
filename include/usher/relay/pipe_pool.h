// PipePool: a worker's pipes, leased to a flow from a fill to the end of its drain.
#pragma once

#include <cstdint>
#include <vector>

#include "usher/base/fd.h"
#include "usher/base/mover.h"

namespace usher {

/// Names a leased pipe; `none` when a flow has none.
enum class PipeId : std::uint16_t { none = 0xffff };

/// How much a lease should hold: as the kernel makes them (64 KiB), or enough for a long turn.
enum class PipeSize : std::uint8_t { usual, large };

/// Not thread safe. pipe2(2) is called only while fewer than `pipes_max` exist; what comes back empty is used again, what
/// comes back with bytes in it is closed. Allocates only in its constructor.
class PipePool {
 public:
  /// At most `large_max` of them are large: all pipes of a user share one ration (fs.pipe-user-pages-soft of proc(5)), and
  /// past it every new pipe of that user is made tiny.
  PipePool(std::uint16_t pipes_max, std::uint16_t large_max);

  /// PipeId::none when there is none to have: all are leased, or the kernel refuses another (EMFILE, ENFILE, ENOMEM). A large
  /// one is a wish: there may be enough of them, and the kernel may have no pages left for it.
  PipeId lease(PipeSize size) noexcept;
  /// REQUIRES: the pipe is empty.
  void give_back(PipeId pipe) noexcept;
  /// Closes a pipe that still holds bytes.
  void scrap(PipeId pipe) noexcept;

  [[nodiscard]] const Fd& read_end(PipeId pipe) const noexcept { return pipes_[static_cast<std::uint16_t>(pipe)].read_end; }
  [[nodiscard]] const Fd& write_end(PipeId pipe) const noexcept { return pipes_[static_cast<std::uint16_t>(pipe)].write_end; }
  /// Bytes that an empty one takes for sure.
  [[nodiscard]] std::uint32_t capacity(PipeId pipe) const noexcept { return pipes_[static_cast<std::uint16_t>(pipe)].capacity; }
  [[nodiscard]] std::uint32_t open() const noexcept { return open_; }
  [[nodiscard]] std::uint32_t leased() const noexcept { return leased_; }
  /// The errno of the last refusal by the kernel, 0 = none so far.
  [[nodiscard]] int last_refusal() const noexcept { return last_refusal_; }

 private:
  struct Pipe {
    Fd read_end;
    Fd write_end;
    std::uint32_t capacity = 0;
    bool large = false;  ///< grown, and counted; with pages of 64 KiB each pipe holds large_pipe_bytes from the start
  };
  PipeId take(std::vector<std::uint16_t>& from) noexcept;
  PipeId make() noexcept;

  const std::uint16_t large_max_;
  std::vector<Pipe> pipes_;
  std::vector<std::uint16_t> idle_;        ///< open, empty, not large
  std::vector<std::uint16_t> idle_large_;  ///< open, empty, large
  std::vector<std::uint16_t> unmade_;      ///< numbers without a pipe
  std::uint32_t open_ = 0;
  std::uint32_t large_ = 0;
  std::uint32_t leased_ = 0;
  int last_refusal_ = 0;
};

}  // namespace usher
