// Which bucket of PathCounts a connect time belongs to.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#pragma once

// The helpers need the kernel's types, and don't include them: this order.
// clang-format off
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#include "usher/steer/path_abi.h"

/// Its logarithm to the base 2, in whole microseconds, found by halving: BPF has no instruction for it.
static __always_inline __u32 bucket_of(__u64 ns) {
  __u64 us = ns / 1000;
  __u32 bucket = 0;
  for (int bit = 4; bit >= 0; --bit) {
    if (us >> (bucket + (1U << bit))) bucket += 1U << bit;
  }
  return bucket < PATH_RTT_BUCKETS ? bucket : PATH_RTT_BUCKETS - 1;
}
