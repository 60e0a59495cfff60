// The sweep: ends flows that are over or idle, and counts what is there.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// User space runs it now and then (bpf_prog_test_run_opts); while no daemon runs, the tables' LRU alone makes room.
#pragma once

#include "bpf/path_maps.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, PATH_BACKENDS_MAX);
  __type(key, __u32);
  __type(value, __u64);
} path_recount SEC(".maps");

struct Broom {
  __u64 now;
  __u64 half_open_ns;
  __u64 closing_ns;
  struct PathSweep found;
  bool half_open;
};

#define SECOND_NS 1000000000ULL

/// Whether a direction with this entry, and perhaps the other, is to end.
ALWAYS_INLINE bool is_over(const struct Broom* broom, const struct PathFlow* flow, const struct PathFlow* other) {
  __u64 seen = other && other->seen_ns > flow->seen_ns ? other->seen_ns : flow->seen_ns;
  if (seen > broom->now) return false;
  __u64 quiet = broom->now - seen;
  if (broom->half_open) return quiet > broom->half_open_ns;
  if (is_ended(flow, other)) return quiet > broom->closing_ns;
  bool half = flow->flags & PATH_FIN || (other && other->flags & PATH_FIN);
  return quiet > SECOND_NS * (half ? flow->half_close_seconds : flow->idle_seconds);
}

static long sweep_entry(void* map, struct PathFlowKey* key, struct PathFlow* flow, struct Broom* broom) {
  struct PathFlowKey other_key;
  reverse_key(flow, &other_key);
  struct PathFlow* other = flow->mode == PATH_DSR ? 0
                           : broom->half_open     ? bpf_map_lookup_elem(&path_half_open, &other_key)
                                                  : bpf_map_lookup_elem(&path_flows, &other_key);
  if (is_over(broom, flow, other)) {
    // One a flow; which of its two entries is met first, and finds the other still there, is the hash's to say.
    if (!(flow->flags & PATH_TO_CLIENT)) broom->found.ended += 1;
    bpf_map_delete_elem(map, key);
    return 0;
  }
  // Two entries, or one: PATH_DSR has no other, and the LRU may have dropped either.
  if (!(flow->flags & PATH_TO_CLIENT) || !other) {
    broom->found.flows += 1;
    if (broom->half_open) broom->found.half_open += 1;
  }
  if (flow->flags & PATH_COUNTED) {
    __u32 index = flow->backend;
    __u64* value = bpf_map_lookup_elem(&path_recount, &index);
    if (value) *value += 1;
  }
  return 0;
}

static long clear_count(void* map, __u32* key, __u64* value, void* unused) {
  (void)map, (void)key, (void)unused;
  *value = 0;
  return 0;
}

static long take_count(void* map, __u32* key, __u64* value, void* unused) {
  (void)map, (void)unused;
  __u32 index = *key;
  __u64* active = bpf_map_lookup_elem(&path_active, &index);
  if (active && *active != *value) *active = *value;
  return 0;
}

SEC("syscall")
int path_sweep(struct PathSweep* found) {
  __u32 zero = 0;
  struct PathSettings* settings = bpf_map_lookup_elem(&path_settings, &zero);
  if (!settings) return 1;
  struct Broom broom = {.now = bpf_ktime_get_ns(),
                        .half_open_ns = settings->half_open_seconds * SECOND_NS,
                        .closing_ns = settings->closing_seconds * SECOND_NS};
  bpf_for_each_map_elem(&path_recount, clear_count, 0, 0);
  broom.half_open = true;
  bpf_for_each_map_elem(&path_half_open, sweep_entry, &broom, 0);
  broom.half_open = false;
  bpf_for_each_map_elem(&path_flows, sweep_entry, &broom, 0);
  bpf_for_each_map_elem(&path_recount, take_count, 0, 0);
  *found = broom.found;
  return 0;
}
