// PipePool: pipe2(2), and who holds what.
#include "usher/relay/pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace usher {

PipePool::PipePool(std::uint16_t pipes_max) : pipes_(pipes_max) {
  idle_.reserve(pipes_max);
  unmade_.reserve(pipes_max);
  for (std::uint16_t number = pipes_max; number-- > 0;) unmade_.push_back(number);
}

PipeId PipePool::lease() noexcept {
  std::uint16_t number = 0;
  if (!idle_.empty()) {
    number = idle_.back();
    idle_.pop_back();
  } else if (!unmade_.empty()) {
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
      last_refusal_ = errno;
      return PipeId::none;
    }
    number = unmade_.back();
    unmade_.pop_back();
    // Past its ration (fs.pipe-user-pages-soft) the kernel makes smaller ones.
    const int capacity = ::fcntl(ends[1], F_GETPIPE_SZ);
    pipes_[number] = Pipe{Fd(ends[0]), Fd(ends[1]), capacity > 0 ? static_cast<std::uint32_t>(capacity) : 4096U};
    ++open_;
  } else {
    return PipeId::none;
  }
  ++leased_;
  return PipeId{number};
}

void PipePool::give_back(PipeId pipe) noexcept {
  idle_.push_back(static_cast<std::uint16_t>(pipe));
  --leased_;
}

void PipePool::scrap(PipeId pipe) noexcept {
  const auto number = static_cast<std::uint16_t>(pipe);
  pipes_[number] = Pipe{};
  unmade_.push_back(number);
  --leased_;
  --open_;
}

}  // namespace usher
