// PipePool: pipe2(2), and who holds what.
#include "usher/relay/pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace usher {

PipePool::PipePool(std::uint16_t pipes_max, std::uint16_t large_max) : large_max_(large_max), pipes_(pipes_max) {
  idle_.reserve(pipes_max);
  idle_large_.reserve(large_max);
  unmade_.reserve(pipes_max);
  for (std::uint16_t number = pipes_max; number-- > 0;) unmade_.push_back(number);
}

PipeId PipePool::lease(PipeSize size) noexcept {
  if (size == PipeSize::large && !idle_large_.empty()) return take(idle_large_);
  PipeId pipe = PipeId::none;
  if (!idle_.empty()) {
    pipe = take(idle_);
  } else {
    pipe = make();
    if (pipe == PipeId::none && !idle_large_.empty()) return take(idle_large_);
  }
  if (pipe == PipeId::none || size == PipeSize::usual || large_ == large_max_) return pipe;
  Pipe& grown = pipes_[static_cast<std::uint16_t>(pipe)];
  const int capacity = ::fcntl(grown.write_end.number(), F_SETPIPE_SZ, large_pipe_bytes);
  if (capacity < 0) return pipe;  // EPERM past the ration, ENOMEM: the usual size does as well
  grown.capacity = static_cast<std::uint32_t>(capacity);
  grown.large = true;
  ++large_;
  return pipe;
}

PipeId PipePool::take(std::vector<std::uint16_t>& from) noexcept {
  const std::uint16_t number = from.back();
  from.pop_back();
  ++leased_;
  return PipeId{number};
}

PipeId PipePool::make() noexcept {
  if (unmade_.empty()) return PipeId::none;
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
    last_refusal_ = errno;
    return PipeId::none;
  }
  // Past its ration the kernel makes smaller ones.
  const int capacity = ::fcntl(ends[1], F_GETPIPE_SZ);
  const std::uint16_t number = unmade_.back();
  unmade_.pop_back();
  pipes_[number] = Pipe{Fd(ends[0]), Fd(ends[1]), capacity > 0 ? static_cast<std::uint32_t>(capacity) : 4096U, false};
  ++open_;
  ++leased_;
  return PipeId{number};
}

void PipePool::give_back(PipeId pipe) noexcept {
  const auto number = static_cast<std::uint16_t>(pipe);
  (pipes_[number].large ? idle_large_ : idle_).push_back(number);
  --leased_;
}

void PipePool::scrap(PipeId pipe) noexcept {
  const auto number = static_cast<std::uint16_t>(pipe);
  if (pipes_[number].large) --large_;
  pipes_[number] = Pipe{};
  unmade_.push_back(number);
  --leased_;
  --open_;
}

}  // namespace usher
