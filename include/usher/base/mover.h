// Mover: who calls splice(2) for a bulk transfer.
#pragma once

#include <cstdint>

namespace usher {

/// As global.mover in usher.toml says it. Small turns are copied by the worker either way.
enum class Mover : std::uint8_t {
  worker,  ///< "inline": the worker itself, in its turn
  ring,    ///< "ring": IORING_OP_SPLICE, on the kernel's own threads (io-wq)
};

}  // namespace usher
