// Picking: whose service a packet is for, and which backend gets it.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#pragma once

#include "bpf/path_maps.bpf.h"

/// A hash of the client, the same on every usher: which one a flow meets after a failover doesn't matter. Thomas Mueller's mix, a word at a time.
ALWAYS_INLINE __u32 mix(__u32 hash, __u32 word) {
  hash ^= word;
  hash = ((hash >> 16) ^ hash) * 0x45d9f3bU;
  hash = ((hash >> 16) ^ hash) * 0x45d9f3bU;
  return (hash >> 16) ^ hash;
}

ALWAYS_INLINE __u32 hash_address(const struct PathAddress* address) {
  __u32 hash = mix(0x9e3779b9U, address->words[0]);
  hash = mix(hash, address->words[1]);
  hash = mix(hash, address->words[2]);
  return mix(hash, address->words[3]);
}

ALWAYS_INLINE struct PathService* service_of(const struct PathFlowKey* packet) {
  struct PathServiceKey key = {.address = packet->destination, .port = packet->destination_port};
  struct PathService* service = bpf_map_lookup_elem(&path_services, &key);
  if (service) return service;
  // One that listens on every address: whatever this host is called.
  bool v4 = is_v4(&key.address);
  __builtin_memset(&key.address, 0, sizeof key.address);
  if (v4) key.address.words[2] = bpf_htonl(0xffff);
  service = bpf_map_lookup_elem(&path_services, &key);
  if (!service || !bpf_map_lookup_elem(&path_locals, &packet->destination)) return 0;
  return service;
}

/// Who stands in a slot of the service's table; 0: nobody, else its number + 1.
ALWAYS_INLINE __u32 in_slot(void* slots, __u32 slot) {
  __u32* entry = bpf_map_lookup_elem(slots, &slot);
  return entry ? *entry : 0;
}

ALWAYS_INLINE __u64 active_of(__u32 backend) {
  __u64* active = bpf_map_lookup_elem(&path_active, &backend);
  // Two processors and a sweep change it: it may be below zero for a moment.
  return active && (__s64)*active > 0 ? *active : 0;
}

/// The backend for a new flow, its number + 1; 0 where the table is empty. `in_middle`: it began elsewhere, so the table alone decides.
ALWAYS_INLINE __u32 pick(const struct PathService* service, const struct PathFlowKey* packet, bool in_middle) {
  __u32 index = service->service;
  void* slots = bpf_map_lookup_elem(&path_tables, &index);
  __u32 size = service->slots;
  if (!slots || size == 0) return 0;
  if (service->algorithm == PATH_MAGLEV || in_middle) {
    __u32 hash = hash_address(&packet->source);
    if (service->flags & PATH_HASH_PORT) hash = mix(hash, packet->source_port);
    return in_slot(slots, ((__u64)hash * size) >> 32);
  }
  // A backend has as many slots as its weight says: drawing slots draws backends by weight.
  __u32 one = in_slot(slots, bpf_get_prandom_u32() % size);
  __u32 other = in_slot(slots, bpf_get_prandom_u32() % size);
  if (one == 0 || other == 0 || one == other) return one ? one : other;
  __u32 one_index = one - 1;
  __u32 other_index = other - 1;
  struct PathBackend* first = bpf_map_lookup_elem(&path_backends, &one_index);
  struct PathBackend* second = bpf_map_lookup_elem(&path_backends, &other_index);
  if (!first || !second) return one;
  return (active_of(one_index) + 1) * second->weight <= (active_of(other_index) + 1) * first->weight ? one : other;
}
