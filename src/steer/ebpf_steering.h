// The door to the eBPF half of the room: the only place where a build with and a build without libbpf differ.
#pragma once

#include <cstdint>
#include <memory>

#include "usher/base/error.h"
#include "usher/steer/steering.h"

namespace usher {

/// Loads the program once, as proof that this kernel takes it, and owns the maps that all groups share. The error is
/// the reason that follows "kernel hash: ". REQUIRES: 0 < workers <= STEER_WORKERS_MAX.
Result<std::unique_ptr<Steering>> load_ebpf_steering(std::uint32_t workers);

}  // namespace usher
