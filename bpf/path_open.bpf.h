// A new flow: whose service, which backend, which source port; both its entries.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#pragma once

#include "bpf/answer.bpf.h"
#include "bpf/path_maps.bpf.h"
#include "bpf/path_pick.bpf.h"

/// Whether the stack has a connection, or one in the making, for this packet: then the proxy serves it. One that only waits for stray packets
/// (TIME_WAIT) doesn't keep a client from beginning a new one with the same port.
ALWAYS_INLINE bool stack_has(struct __sk_buff* skb, const struct Packet* packet, bool first) {
  struct bpf_sock_tuple tuple = {};
  struct bpf_sock* socket;
  if (packet->v6) {
    __builtin_memcpy(tuple.ipv6.saddr, &packet->key.source, 16);
    __builtin_memcpy(tuple.ipv6.daddr, &packet->key.destination, 16);
    tuple.ipv6.sport = packet->key.source_port;
    tuple.ipv6.dport = packet->key.destination_port;
    socket = bpf_skc_lookup_tcp(skb, &tuple, sizeof tuple.ipv6, BPF_F_CURRENT_NETNS, 0);
  } else {
    tuple.ipv4.saddr = packet->key.source.words[3];
    tuple.ipv4.daddr = packet->key.destination.words[3];
    tuple.ipv4.sport = packet->key.source_port;
    tuple.ipv4.dport = packet->key.destination_port;
    socket = bpf_skc_lookup_tcp(skb, &tuple, sizeof tuple.ipv4, BPF_F_CURRENT_NETNS, 0);
  }
  if (!socket) return false;
  bool connection = socket->state != BPF_TCP_LISTEN && !(first && socket->state == BPF_TCP_TIME_WAIT);
  bpf_sk_release(socket);
  return connection;
}

#define PORT_REST_NS 1000000000LL  // what a port rests at least between two flows to one backend

struct Opening {
  struct PathFlowKey reverse;
  struct PathFlow forward;
  struct PathFlow back;
};

// Too much for the stack, which is 512 bytes.
struct Scratch {
  struct Opening opening;
  struct PathFlow flow;
  struct Answer answer;
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct Scratch);
} path_scratch SEC(".maps");

/// The port at a place in all ranges laid end to end.
ALWAYS_INLINE __u16 port_at(const struct PathSettings* settings, __u32 place) {
  for (int range = 0; range < PATH_PORT_RANGES; ++range) {
    if (place < settings->port_count[range]) return (__u16)(settings->port_first[range] + place);
    place -= settings->port_count[range];
  }
  return 0;
}

/// Whether an entry of the answers' direction belongs to the flow that packets with `key` are of: the LRU has dropped the other one alone.
ALWAYS_INLINE bool is_own(const struct PathFlow* entry, const struct PathFlowKey* key) {
  return same_address(&entry->new_destination, &key->source) && entry->new_destination_port == key->source_port &&
         same_address(&entry->new_source, &key->destination) && entry->new_source_port == key->destination_port;
}

/// Ends a flow that is over and quiet before the sweep does, for its source port's sake: with connections that come faster than the sweep's
/// patience gives ports back, one is taken that has rested for a second at least. `back` is its entry of the answers' direction, under `reverse`.
ALWAYS_INLINE bool take_over(const struct PathFlowKey* reverse, const struct PathFlow* back) {
  struct PathFlowKey key;
  reverse_key(back, &key);
  struct PathFlow* forward = bpf_map_lookup_elem(&path_flows, &key);
  __u64 seen = forward && forward->seen_ns > back->seen_ns ? forward->seen_ns : back->seen_ns;
  if (!is_ended(back, forward) || (__s64)(bpf_ktime_get_coarse_ns() - seen) < PORT_REST_NS) return false;
  // The client may have begun anew with the same addresses: then the entry that stands there isn't this flow's.
  if (forward && forward->new_source_port == reverse->destination_port) bpf_map_delete_elem(&path_flows, &key);
  bpf_map_delete_elem(&path_flows, reverse);
  return true;
}

/// Takes `opening->reverse` for the answers. PATH_OPENED: it is the flow's; PATH_ADOPTED_FLOW: it was, and is established; PATH_NO_PORT: it is
/// another's; PATH_TABLE_FULL. `presses`: free ports are rare, one that rests will do.
ALWAYS_INLINE __u32 claim(const struct PathFlowKey* key, struct Opening* opening, bool presses) {
  // Into the one table first, then a look at the other: an entry moves from the one to the other in that order, too, so it isn't missed.
  long answer = bpf_map_update_elem(&path_half_open, &opening->reverse, &opening->back, BPF_NOEXIST);
  if (answer == -17) {  // EEXIST
    struct PathFlow* taken = bpf_map_lookup_elem(&path_half_open, &opening->reverse);
    return taken && is_own(taken, key) ? PATH_OPENED : PATH_NO_PORT;
  }
  if (answer != 0) return PATH_TABLE_FULL;
  struct PathFlow* established = bpf_map_lookup_elem(&path_flows, &opening->reverse);
  if (!established) return PATH_OPENED;
  bool own = is_own(established, key);
  if (own && !(opening->forward.flags & PATH_ADOPTED)) {  // a first packet: that flow is over
    bpf_map_delete_elem(&path_flows, &opening->reverse);
    return PATH_OPENED;
  }
  if (!own && presses && take_over(&opening->reverse, established)) return PATH_OPENED;
  bpf_map_delete_elem(&path_half_open, &opening->reverse);
  return own ? PATH_ADOPTED_FLOW : PATH_NO_PORT;
}

/// Both entries of a new flow into the half-open table, with a source port of its own where the mode needs one.
/// PATH_OPENED, PATH_NO_PORT or PATH_TABLE_FULL.
ALWAYS_INLINE __u32 enter(const struct Packet* packet, struct Opening* opening) {
  __u32 zero = 0;
  struct PathSettings* settings = bpf_map_lookup_elem(&path_settings, &zero);
  if (!settings) return PATH_TABLE_FULL;
  if (opening->forward.mode == PATH_DSR) {
    return bpf_map_update_elem(&path_half_open, &packet->key, &opening->forward, BPF_ANY) == 0 ? PATH_OPENED : PATH_TABLE_FULL;
  }
  __u32 ports = 0;
  for (int range = 0; range < PATH_PORT_RANGES; ++range) ports += settings->port_count[range];
  bool chooses = opening->forward.mode == PATH_NAT;
  if (chooses && ports == 0) return PATH_NO_PORT;
  __u32 place = mix(hash_address(&packet->key.source), packet->key.source_port);
  for (int i = 0; i < PATH_PORT_ATTEMPTS; ++i) {
    if (chooses) {
      opening->forward.new_source_port = bpf_htons(port_at(settings, ports ? place % ports : 0));
    }
    reverse_key(&opening->forward, &opening->reverse);
    __u32 claimed = claim(&packet->key, opening, chooses && i >= PATH_PORT_ATTEMPTS / 2);
    if (claimed == PATH_OPENED) {
      if (bpf_map_update_elem(&path_half_open, &packet->key, &opening->forward, BPF_ANY) == 0) return PATH_OPENED;
      bpf_map_delete_elem(&path_half_open, &opening->reverse);
      return PATH_TABLE_FULL;
    }
    if (claimed == PATH_ADOPTED_FLOW) {
      opening->forward.flags |= PATH_COUNTED;
      return bpf_map_update_elem(&path_flows, &packet->key, &opening->forward, BPF_ANY) == 0 ? PATH_OPENED : PATH_TABLE_FULL;
    }
    if (claimed != PATH_NO_PORT) return claimed;
    if (!chooses) return PATH_NO_PORT;
    place = mix(place, i + 1);
  }
  return PATH_NO_PORT;
}

/// A packet to a service that no entry knows. PATH_OPENED: `opening->forward` tells where it goes; else why it is left to the stack.
static __noinline __u32 open_flow(struct __sk_buff* skb, struct Packet* packet, struct Opening* opening) {
  struct PathService* service = service_of(&packet->key);
  if (!service) return PATH_UNKNOWN;
  bool first = (packet->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
  // A first packet, too: sent again in the middle of a handshake that the proxy has begun, before this program served the address.
  if ((!first && packet->flags & TCP_RST) || stack_has(skb, packet, first)) return PATH_LOCAL_SOCKET;
  __u32 picked = pick(service, &packet->key, !first);
  if (picked == 0) return PATH_NO_BACKEND;
  __u32 index = picked - 1;
  struct PathBackend* backend = bpf_map_lookup_elem(&path_backends, &index);
  if (!backend || backend->port == 0) return PATH_NO_BACKEND;

  __u64 now = bpf_ktime_get_ns();
  struct PathFlow* forward = &opening->forward;
  struct PathFlow* back = &opening->back;
  __builtin_memset(opening, 0, sizeof *opening);
  forward->mode = service->mode;
  forward->new_source = service->mode == PATH_DNAT ? packet->key.source : backend->source;
  forward->new_source_port = packet->key.source_port;
  forward->new_destination = backend->address;
  forward->new_destination_port = backend->port;
  forward->interface_index = backend->interface_index;
  forward->backend = index;
  forward->service = service->service;
  forward->idle_seconds = service->idle_seconds;
  forward->half_close_seconds = (__u16)service->half_close_seconds;
  forward->opened_ns = now;
  forward->seen_ns = now;
  forward->flags = first ? 0 : PATH_ADOPTED;
  *back = *forward;
  reverse_rewrite(&packet->key, back);
  back->interface_index = skb->ingress_ifindex ? skb->ingress_ifindex : skb->ifindex;
  back->flags |= PATH_TO_CLIENT;
  return enter(packet, opening);
}
