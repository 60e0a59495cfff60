// The kernel datapath's maps, its counters, and how the two directions of a flow know each other.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#pragma once

#include "bpf/packet.bpf.h"

#define COARSE_NS (1ULL << 27)  // seen_ns is written this often: a store a packet would move the cache line between processors

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct PathSettings);
} path_settings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, PATH_SERVICES_MAX);
  __type(key, struct PathServiceKey);
  __type(value, struct PathService);
} path_services SEC(".maps");

// The addresses of this host, for services that listen on all of them. The value says nothing.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, PATH_LOCALS_MAX);
  __type(key, struct PathAddress);
  __type(value, __u32);
} path_locals SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, PATH_BACKENDS_MAX);
  __type(key, __u32);
  __type(value, struct PathBackend);
} path_backends SEC(".maps");

// How many flows each backend has now. Added to here, counted anew by the sweep: what the LRU drops isn't told.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, PATH_BACKENDS_MAX);
  __type(key, __u32);
  __type(value, __u64);
} path_active SEC(".maps");

// A service's Maglev table: slot -> backend + 1. Swapped whole.
struct table {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_INNER_MAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, PATH_SERVICES_MAX);
  __type(key, __u32);
  __array(values, struct table);
} path_tables SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 65536);
  __type(key, struct PathFlowKey);
  __type(value, struct PathFlow);
} path_half_open SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1048576);
  __type(key, struct PathFlowKey);
  __type(value, struct PathFlow);
} path_flows SEC(".maps");

// Where the later fragments of a packet go: what its first one got.
struct FragmentKey {
  struct PathAddress source;
  struct PathAddress destination;
  __u32 identification;
};

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, struct FragmentKey);
  __type(value, struct PathFlowKey);
} path_fragments SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, PATH_BACKENDS_MAX);
  __type(key, __u32);
  __type(value, struct PathCounts);
} path_counts SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, PATH_VERDICTS);
  __type(key, __u32);
  __type(value, __u64);
} path_verdicts SEC(".maps");

ALWAYS_INLINE void count(__u32 verdict) {
  __u64* value = bpf_map_lookup_elem(&path_verdicts, &verdict);
  if (value) *value += 1;  // per CPU, and this runs with softirqs off
}

/// On to the stack, for the reason given.
ALWAYS_INLINE int leave(__u32 verdict) {
  count(verdict);
  return TC_ACT_UNSPEC;
}

ALWAYS_INLINE int drop(__u32 verdict) {
  count(verdict);
  return TC_ACT_SHOT;
}

ALWAYS_INLINE struct PathCounts* counts_of(__u32 backend) { return bpf_map_lookup_elem(&path_counts, &backend); }

ALWAYS_INLINE void add_active(__u32 backend, __s64 change) {
  __u64* active = bpf_map_lookup_elem(&path_active, &backend);
  if (active) __sync_fetch_and_add(active, change);
}

/// The key of the other direction's entry.
ALWAYS_INLINE void reverse_key(const struct PathFlow* flow, struct PathFlowKey* key) {
  key->source = flow->new_destination;
  key->destination = flow->new_source;
  key->source_port = flow->new_destination_port;
  key->destination_port = flow->new_source_port;
}

/// What the other direction of `flow`, whose packets have `key`, is rewritten to. REQUIRES: the rest of `other` is set by the caller.
ALWAYS_INLINE void reverse_rewrite(const struct PathFlowKey* key, struct PathFlow* other) {
  other->new_source = key->destination;
  other->new_destination = key->source;
  other->new_source_port = key->destination_port;
  other->new_destination_port = key->source_port;
}

/// Whether both sides have said all that they had to say. `other` is the other direction's entry, or none where the table has lost it.
ALWAYS_INLINE bool is_ended(const struct PathFlow* flow, const struct PathFlow* other) {
  return flow->flags & PATH_RST || (flow->flags & PATH_FIN && (!other || other->flags & PATH_FIN));
}
