// The steering program: it chooses the worker of a new connection, the less loaded of two, before any worker wakes.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The kernel runs it where a SYN meets a group of SO_REUSEPORT listeners (BPF_PROG_TYPE_SK_REUSEPORT), and again where
// a listener closes with connections still in its queue. The kernel's own choice is a blind hash: fair on average, and
// blind to a worker that holds ten times what its neighbour holds. Two drawn at random and the lesser taken is nearly
// as even as looking at all, for two cache lines (Mitzenmacher, "The Power of Two Choices", 2001).
//
// It may never cost a connection. Every way out is SK_PASS: without a selection, the kernel hashes as if nobody had
// asked.
// The helpers need the kernel's types, and don't include them: this order.
// clang-format off
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#include "usher/steer/abi.h"

// Set before loading: how many workers this group has. The workers' sockets sit at 0 .. worker_count - 1.
const volatile __u32 worker_count = 0;

// One a group: the listening socket of each worker. A socket that closes leaves its slot empty by itself.
struct {
  __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
  __uint(max_entries, STEER_WORKERS_MAX);
  __type(key, __u32);
  __type(value, __u64);
} sockets SEC(".maps");

// Shared by all groups, and mapped into usher: publishing a load is a store, not a system call.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, STEER_WORKERS_MAX);
  __type(key, __u32);
  __type(value, struct WorkerLine);
} loads SEC(".maps");

// Shared by all groups.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, STEER_VERDICTS);
  __type(key, __u32);
  __type(value, __u64);
} verdicts SEC(".maps");

static __always_inline int pass(__u32 verdict) {
  __u64* count = bpf_map_lookup_elem(&verdicts, &verdict);
  if (count) *count += 1;  // per CPU, and a CPU runs one of us at a time
  return SK_PASS;
}

// The load of a worker is what it will hold once it has accepted what it was sent, not what it says it holds: it says
// so once a turn, and a burst of SYNs that all read the same stale word would all go to the same "idle" worker.
//
//   load = max(sessions, expected);  each connection sent makes expected = load + 1
//
// By the maximum, a connection is not counted twice when the worker accepts it and publishes. `expected` can be wrong
// upwards only: sessions ended, a handshake was never finished, a stray packet or a SYN cookie was charged. So what it
// is ahead of the published word halves with each window. Halving rather than forgetting: a worker that is stuck keeps
// a name for it.
static __always_inline __u32 load_of(struct WorkerLine* line, __u32 window) {
  __u32 sessions = *(volatile __u32*)&line->sessions;
  __u32 expected = *(volatile __u32*)&line->expected;
  __u32 then = *(volatile __u32*)&line->window;
  __u32 age = window - then;
  // The top bit: another CPU has read a later clock. Of several that see the window turn, the one whose swap lands does
  // the halving.
  if (age != 0 && age < 1U << 31 && __sync_val_compare_and_swap(&line->window, then, window) == then) {
    __u32 ahead = expected > sessions ? expected - sessions : 0;
    ahead = age < 32 ? ahead >> age : 0;
    // Nothing on its way: the published word alone counts, so that a worker whose sessions end is seen to be free at
    // once.
    expected = ahead ? sessions + ahead : 0;
    *(volatile __u32*)&line->expected = expected;
  }
  return expected > sessions ? expected : sessions;
}

// Two CPUs may charge at once: the adds are exact; a lost store of the first line costs one connection's worth of
// evenness.
static __always_inline void charge(struct WorkerLine* line, __u32 load) {
  if (*(volatile __u32*)&line->expected < load) *(volatile __u32*)&line->expected = load;
  __sync_fetch_and_add(&line->expected, 1);
  __sync_fetch_and_add(&line->sent, 1);
}

// "/migrate": the kernel then asks us, whatever net.ipv4.tcp_migrate_req says, where the connections go that wait in
// the queue of a listener that closes. Without that they are reset, when workers shrink and on a reload.
SEC("sk_reuseport/migrate")
int steer(struct sk_reuseport_md* knock) {
  __u32 workers = worker_count;
  __u32 window = bpf_ktime_get_ns() >> STEER_WINDOW_SHIFT_NS;

  // The first pick comes from the kernel's hash of the four addresses, scaled; the second from the others, so that two
  // differ.
  __u32 better = ((__u64)knock->hash * workers) >> 32;
  __u32 other = better;
  if (workers > 1) other = (better + 1 + bpf_get_prandom_u32() % (workers - 1)) % workers;

  struct WorkerLine* better_line = bpf_map_lookup_elem(&loads, &better);
  struct WorkerLine* other_line = bpf_map_lookup_elem(&loads, &other);
  // Past the map's end: can't be, as user space checks the count; the verifier wants to see it said.
  if (!better_line || !other_line) return pass(STEER_FELL_BACK);

  __u32 better_load = load_of(better_line, window);
  __u32 other_load = load_of(other_line, window);
  if (other_load < better_load) {
    __u32 index = better, load = better_load;
    struct WorkerLine* line = better_line;
    better = other, better_load = other_load, better_line = other_line;
    other = index, other_load = load, other_line = line;
  }

  // A listener that closes: its queue moves to another worker's instead of being reset.
  int migrating = knock->migrating_sk != 0;

  // The usual case: both workers serve, and the less loaded one gets the connection.
  if (bpf_sk_select_reuseport(knock, &sockets, &better, 0) == 0) {
    charge(better_line, better_load);
    return pass(migrating ? STEER_MIGRATED : STEER_CHOSEN);
  }
  // Its socket has left: the worker drains, was retired by a reload, or has died. The other is as good as any.
  if (bpf_sk_select_reuseport(knock, &sockets, &other, 0) == 0) {
    charge(other_line, other_load);
    return pass(migrating ? STEER_MIGRATED : STEER_SECOND_CHOICE);
  }
  // Both have left. Somebody else in the group may still listen, and the kernel's hash knows who.
  return pass(STEER_FELL_BACK);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
