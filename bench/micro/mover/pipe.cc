// Pipe: pipe2(2) and fcntl(2), F_SETPIPE_SZ.
#include "mover/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

namespace usher::micro {

Result<std::unique_ptr<Pipe>> make_pipe(std::size_t bytes) {
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return fail_system("pipe2");
  auto pipe = std::make_unique<Pipe>(Fd(ends[0]), Fd(ends[1]));
  if (::fcntl(pipe->write_end.number(), F_SETPIPE_SZ, static_cast<int>(bytes)) < 0) {
    return fail_system(fmt::format("a pipe of {} bytes", bytes));
  }
  return pipe;
}

}  // namespace usher::micro
