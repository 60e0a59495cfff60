// What the steering program and user space share: limits, the layout of the load map, the names of the verdicts.
//
// Plain C, read by clang for BPF and by the C++ compilers; both check the layout below. Everything here is in host
// order. The map `loads` is an array of WorkerLine, one an index; `verdicts` is a per-CPU array of __u64, one a
// SteerVerdict.
#pragma once

#include <linux/types.h>

#ifdef __cplusplus
#define USHER_ABI_ASSERT(condition, why) static_assert(condition, why)
#else
#define USHER_ABI_ASSERT(condition, why) _Static_assert(condition, why)
#endif

enum {
  STEER_WORKERS_MAX = 128,     // lines in the load map, slots in a group's socket array
  STEER_LINE_BYTES = 64,       // one cache line: workers that publish don't disturb each other
  STEER_WINDOW_SHIFT_NS = 24,  // a window is 2^24 ns, about 17 ms; see `expected`
};

// One worker. The worker writes `sessions` and nothing else; the program writes the rest; both read all of it.
struct WorkerLine {
  __u32 sessions;  // what the worker holds, as it said last
  __u32 expected;  // what it will hold once it has accepted all that it was sent; 0: nothing on its way
  __u32 window;    // when `expected` was last halved: monotonic nanoseconds >> STEER_WINDOW_SHIFT_NS, wrapping
  __u32 spare;
  __u64 sent;  // connections steered here, ever
  __u8 rest[STEER_LINE_BYTES - 24];
};
USHER_ABI_ASSERT(sizeof(struct WorkerLine) == STEER_LINE_BYTES, "a worker has one cache line, the map's stride");
USHER_ABI_ASSERT(__builtin_offsetof(struct WorkerLine, sessions) == 0, "the published word comes first");
USHER_ABI_ASSERT(__builtin_offsetof(struct WorkerLine, sent) == 16, "64-bit atomics want their alignment");

// How one run of the program ended: each run counts exactly one.
enum SteerVerdict {
  STEER_CHOSEN,         // the less loaded of the two got it
  STEER_SECOND_CHOICE,  // that one's socket had left; the other got it
  STEER_FELL_BACK,      // both had left; the kernel's hash chose
  STEER_MIGRATED,       // it waited in the queue of a socket that closed, and went to one of the two
  STEER_VERDICTS,       // how many there are
};

#undef USHER_ABI_ASSERT
