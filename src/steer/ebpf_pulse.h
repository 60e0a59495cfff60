// The door to the eBPF half of the pulse; a build without libbpf answers that it is one.
#pragma once

#include <memory>

#include "usher/base/error.h"
#include "usher/steer/pulse.h"

namespace usher {

/// The error is the reason that follows "not counted: ".
Result<std::unique_ptr<Pulse>> load_ebpf_pulse();

}  // namespace usher
