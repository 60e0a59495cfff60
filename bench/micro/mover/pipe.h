// Pipe: the two ends of a pipe of a given size, for the ways that splice.
#pragma once

#include <cstddef>
#include <memory>

#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace usher::micro {

/// Both ends are non-blocking.
struct Pipe {
  Fd read_end;
  Fd write_end;
};

/// Past fs.pipe-max-size, or past this user's ration (fs.pipe-user-pages-soft), only a privileged process gets one.
Result<std::unique_ptr<Pipe>> make_pipe(std::size_t bytes);

}  // namespace usher::micro
