// Trials: whether this kernel and these privileges allow an eBPF feature, found out by using it for an instant.
#pragma once

#include "usher/base/error.h"
#include "usher/steer/kernel_path.h"

namespace usher {

/// Each loads what usher loads, attaches it, and takes it away again before it answers: nothing stays but, where a clsact filter is tried, the
/// empty qdisc that it was in; and no packet is touched. The error is
/// what the kernel said, with its cure where that is known.
///
/// The kernel datapath's own programs, on the loopback interface. Answers which way they were attached.
Result<TcWay> try_kernel_path();
/// A program that counts nothing, on this process's own control group (cgroups(7), version 2; BPF_PROG_TYPE_SOCK_OPS).
Result<void> try_sock_ops();

}  // namespace usher
