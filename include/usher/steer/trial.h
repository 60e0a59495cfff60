// Trials: whether this kernel and these privileges allow an eBPF feature, found out by using it for an instant.
#pragma once

#include "usher/base/error.h"

namespace usher {

/// Each loads what usher loads, attaches it, and takes it away again before it answers: nothing stays, and no packet is touched. The error is
/// what the kernel said, with its cure where that is known.
///
/// The kernel datapath's own programs, on the loopback interface, over a tcx link.
Result<void> try_kernel_path();
/// A program that counts nothing, on this process's own control group (cgroups(7), version 2; BPF_PROG_TYPE_SOCK_OPS).
Result<void> try_sock_ops();

}  // namespace usher
