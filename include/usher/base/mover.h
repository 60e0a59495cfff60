// Mover: who calls splice(2) for a bulk transfer, and how much a large pipe holds.
#pragma once

#include <cstdint>

namespace usher {

/// As global.mover in usher.toml says it. Small turns are copied by the worker either way.
enum class Mover : std::uint8_t {
  worker,  ///< "inline": the worker itself, in its turn
  ring,    ///< "ring": IORING_OP_SPLICE, on the kernel's own threads (io-wq)
};

/// A pipe for bulk (F_SETPIPE_SZ of fcntl(2)).
inline constexpr std::uint32_t large_pipe_bytes = 1U << 20;

}  // namespace usher
