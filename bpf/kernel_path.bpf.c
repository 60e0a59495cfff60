// The kernel datapath: forwards whole TCP flows between clients and backends, packet by packet, where they come in (tc ingress).
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What it can't or mustn't serve goes on to the stack, where the proxy listens on the same address: an address that nobody listens on, a
// pool without a ready backend, a full table, a connection that the proxy holds. It drops nothing but packets of its own flows whose hops
// are spent or which don't fit and may not be cut.
//
// A flow is two entries, one a direction, each under the packets' own addresses: one lookup forwards a packet. It begins in `half_open`,
// and moves to `flows` with the packet that acknowledges the backend's answer: a flood of SYNs turns over the first table, and can't reach
// the second. Both are LRU; either entry of a flow can be made anew from the other.
#include "packet.bpf.h"

#include "usher/steer/path_abi.h"

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

/// Whether the stack has a connection, or one in the making, for this packet: then the proxy serves it.
ALWAYS_INLINE bool stack_has(struct __sk_buff* skb, const struct Packet* packet) {
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
  bool connection = socket->state != BPF_TCP_LISTEN;
  bpf_sk_release(socket);
  return connection;
}

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
    // Into the one table first, then a look at the other: an entry moves from the one to the other in that order, too, so it can't be missed.
    long answer = bpf_map_update_elem(&path_half_open, &opening->reverse, &opening->back, BPF_NOEXIST);
    if (answer == 0) {
      if (!bpf_map_lookup_elem(&path_flows, &opening->reverse)) {
        if (bpf_map_update_elem(&path_half_open, &packet->key, &opening->forward, BPF_ANY) == 0) return PATH_OPENED;
        bpf_map_delete_elem(&path_half_open, &opening->reverse);
        return PATH_TABLE_FULL;
      }
      bpf_map_delete_elem(&path_half_open, &opening->reverse);
    } else if (answer != -17) {  // EEXIST
      return PATH_TABLE_FULL;
    }
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
  if (!first && (packet->flags & TCP_RST || stack_has(skb, packet))) return PATH_LOCAL_SOCKET;
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

/// The handshake of a half-open flow is whole: both entries move to the other table. The old ones are left where the new don't fit.
ALWAYS_INLINE void promote(const struct PathFlowKey* key, struct PathFlow* forward) {
  struct PathFlowKey other_key;
  struct PathFlow entry = *forward;
  reverse_key(forward, &other_key);
  struct PathFlow* back = forward->mode == PATH_DSR ? 0 : bpf_map_lookup_elem(&path_half_open, &other_key);
  entry.flags |= PATH_COUNTED;
  entry.sequence = 0;
  if (back && bpf_map_update_elem(&path_flows, &other_key, back, BPF_ANY) != 0) return;
  if (bpf_map_update_elem(&path_flows, key, &entry, BPF_ANY) != 0) return;
  bpf_map_delete_elem(&path_half_open, &other_key);
  bpf_map_delete_elem(&path_half_open, key);
}



ALWAYS_INLINE void count_packet(const struct Packet* packet, const struct PathFlow* flow) {
  struct PathCounts* counts = counts_of(flow->backend);
  if (!counts) return;
  if (flow->flags & PATH_TO_CLIENT) {
    counts->packets_out += 1;
    counts->bytes_out += packet->bytes;
  } else {
    counts->packets_in += 1;
    counts->bytes_in += packet->bytes;
  }
}

ALWAYS_INLINE __u32 bucket_of(__u64 ns) {
  __u64 us = ns / 1000;
  __u32 bucket = 0;
  for (int bit = 4; bit >= 0; --bit) {
    if (us >> (bucket + (1U << bit))) bucket += 1U << bit;
  }
  return bucket < PATH_RTT_BUCKETS ? bucket : PATH_RTT_BUCKETS - 1;
}

/// The backend has said something for the first time; `back` is its direction's entry, in the half-open table.
ALWAYS_INLINE void on_first_answer(const struct Packet* packet, struct PathFlow* back) {
  struct PathFlowKey key;
  reverse_key(back, &key);
  struct PathFlow* forward = bpf_map_lookup_elem(&path_half_open, &key);
  struct PathCounts* counts = counts_of(back->backend);
  if (packet->flags & TCP_RST) {
    if (counts) counts->refused += 1;
    return;
  }
  if (!forward || forward->flags & PATH_ANSWERED) return;
  forward->sequence = packet->sequence + 1;
  forward->flags |= PATH_ANSWERED;
  if (back->flags & PATH_ADOPTED || !counts) return;
  __u64 took = bpf_ktime_get_ns() - back->opened_ns;
  __u32 bucket = bucket_of(took);
  if (bucket < PATH_RTT_BUCKETS) counts->rtt[bucket] += 1;
}

/// Whether this packet of the client makes a half-open flow a whole one.
ALWAYS_INLINE bool completes(const struct Packet* packet, const struct PathFlow* forward) {
  if (forward->mode == PATH_DSR) return (packet->flags & (TCP_SYN | TCP_ACK)) == TCP_ACK;  // the answer isn't seen here
  if (!(forward->flags & PATH_ANSWERED) || (packet->flags & (TCP_SYN | TCP_ACK)) != TCP_ACK) return false;
  return forward->flags & PATH_ADOPTED || packet->acknowledgment == forward->sequence;
}

/// A FIN or a reset has passed: a flow that is over no longer counts as one of its backend's, though its entries stay for what follows.
ALWAYS_INLINE void note_end(const struct Packet* packet, struct PathFlow* flow) {
  struct PathFlowKey key;
  reverse_key(flow, &key);
  struct PathFlow* other = bpf_map_lookup_elem(&path_flows, &key);
  if (packet->flags & TCP_RST) {
    flow->flags |= PATH_RST;
    if (other) other->flags |= PATH_RST;
    struct PathCounts* counts = counts_of(flow->backend);
    if (counts) counts->resets += 1;
  } else {
    flow->flags |= PATH_FIN;
    if (other && !(other->flags & PATH_FIN)) return;
  }
  struct PathFlow* counted = flow->flags & PATH_COUNTED ? flow : other;
  if (!counted || !(counted->flags & PATH_COUNTED)) return;
  counted->flags &= (__u8)~PATH_COUNTED;
  add_active(flow->backend, -1);
}

/// Notes what a packet of an established flow says of its life.
ALWAYS_INLINE void note(const struct Packet* packet, struct PathFlow* flow) {
  __u64 now = bpf_ktime_get_coarse_ns();
  if (now - flow->seen_ns > COARSE_NS) flow->seen_ns = now;
  if (packet->flags & (TCP_FIN | TCP_RST)) note_end(packet, flow);
  if (packet->payload == 0) return;
  __u32 last = packet->sequence + packet->payload;
  if (flow->sequence != 0 && (__s32)(last - flow->sequence) <= 0) {
    struct PathCounts* counts = counts_of(flow->backend);
    if (counts) counts->retransmits += 1;
  } else {
    flow->sequence = last;
  }
}

/// Makes a packet fit where it goes: one of many segments gets smaller ones. 0, the MTU that it exceeds, or -1.
ALWAYS_INLINE __s64 fit(struct __sk_buff* skb, const struct Packet* packet, __u32 interface_index, __u32 extra) {
  if (packet->bytes + extra <= 576) return 0;  // what every IPv4 host takes (RFC 791)
  __u32 mtu = 0;
  if (bpf_check_mtu(skb, interface_index, &mtu, extra, 0) < 0 || mtu <= 128) return 0;
  if (!skb->gso_size) return packet->bytes + extra > mtu ? mtu - extra : 0;
  __u32 headers = packet->bytes - packet->payload + extra;
  if (skb->gso_size + headers <= mtu || packet->fragment) return 0;
  __u32 excess = skb->gso_size + headers - mtu;
  if (excess + 64 > skb->gso_size || excess > 4000) return mtu - extra;
  // Growing a packet takes what it grew by off its segments; shrinking it again needn't give that back (bpf_skb_adjust_room).
  if (bpf_skb_adjust_room(skb, excess, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_NO_CSUM_RESET) != 0) return -1;
  return bpf_skb_adjust_room(skb, -(__s32)excess, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET) == 0 ? 0 : -1;
}

/// Wraps the packet into one to the flow's backend (RFC 2003, 2473, 4213), and leaves it as it was inside.
ALWAYS_INLINE int wrap(struct __sk_buff* skb, const struct Packet* packet, const struct PathFlow* flow, struct Answer* answer) {
  bool outer_v6 = !is_v4(&flow->new_destination);
  __u32 room = outer_v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
  __u64 flags = (outer_v6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) | BPF_F_ADJ_ROOM_NO_CSUM_RESET;
  __u8 protocol = packet->v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
  put_header(answer->bytes, &flow->new_source, &flow->new_destination, outer_v6, protocol, packet->bytes);
  if (bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, flags) != 0) return -1;
  long stored = outer_v6 ? bpf_skb_store_bytes(skb, ETH_HLEN, answer->bytes, sizeof(struct ipv6hdr), BPF_F_INVALIDATE_HASH)
                         : bpf_skb_store_bytes(skb, ETH_HLEN, answer->bytes, sizeof(struct iphdr), BPF_F_INVALIDATE_HASH);
  if (stored != 0) return -1;
  struct ethhdr* ethernet = (void*)(long)skb->data;
  if ((void*)(ethernet + 1) > (void*)(long)skb->data_end) return -1;
  ethernet->h_proto = outer_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
  return 0;
}

ALWAYS_INLINE void fragment_key(const struct Packet* packet, struct FragmentKey* key) {
  key->source = packet->key.source;
  key->destination = packet->key.destination;
  key->identification = packet->fragment;
}

/// What is done with a packet that has a flow; TC_ACT_REDIRECT mostly.
static __noinline int forward_packet(struct __sk_buff* skb, struct Packet* packet, struct Scratch* scratch, bool has_ports) {
  struct PathFlow* flow = &scratch->flow;
  if (packet->hops <= 1) return drop(PATH_HOPS);
  bool wraps = flow->mode == PATH_DSR;
  __u32 extra = !wraps ? 0 : is_v4(&flow->new_destination) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
  __s64 mtu = fit(skb, packet, flow->interface_index, extra);
  if (mtu < 0) return drop(PATH_MALFORMED);
  if (mtu > 0) {
    count(PATH_TOO_BIG);
    return answer_too_big(skb, packet, (__u32)mtu, &scratch->answer);
  }
  count_packet(packet, flow);
  if ((wraps ? wrap(skb, packet, flow, &scratch->answer) : rewrite(skb, packet, flow, has_ports)) != 0) return drop(PATH_MALFORMED);
  count(has_ports ? PATH_FORWARDED : PATH_FRAGMENT);
  return (int)bpf_redirect_neigh(flow->interface_index, 0, 0, 0);
}

ALWAYS_INLINE bool find(const struct PathFlowKey* key, struct PathFlow* found) {
  struct PathFlow* flow = bpf_map_lookup_elem(&path_flows, key);
  if (!flow) flow = bpf_map_lookup_elem(&path_half_open, key);
  if (!flow) return false;
  *found = *flow;
  return true;
}

/// A fragment without a TCP header goes after the one that had it.
static __noinline int forward_fragment(struct __sk_buff* skb, struct Packet* packet, struct Scratch* scratch) {
  struct FragmentKey key;
  fragment_key(packet, &key);
  struct PathFlowKey* first = bpf_map_lookup_elem(&path_fragments, &key);
  if (!first) {
    // Nothing of ours, most likely: a packet to another port, or of another protocol, leaves no trace here.
    return TC_ACT_UNSPEC;
  }
  if (!find(first, &scratch->flow)) return leave(PATH_FRAGMENT_LOST);
  return forward_packet(skb, packet, scratch, false);
}

/// An error about a packet that went out from here goes on to who had sent that packet, in its own words.
static __noinline int forward_error(struct __sk_buff* skb, struct Packet* packet, struct Scratch* scratch) {
  struct Carried carried;
  if (!parse_carried(skb, packet, &carried)) return TC_ACT_UNSPEC;
  struct PathFlowKey key = {.source = carried.key.destination,
                            .destination = carried.key.source,
                            .source_port = carried.key.destination_port,
                            .destination_port = carried.key.source_port};
  if (!find(&key, &scratch->flow)) return TC_ACT_UNSPEC;
  if (packet->hops <= 1) return drop(PATH_HOPS);
  if (rewrite_error(skb, packet, &carried, &scratch->flow) != 0) return drop(PATH_MALFORMED);
  count(PATH_ICMP);
  return (int)bpf_redirect_neigh(scratch->flow.interface_index, 0, 0, 0);
}

/// Takes both directions of a flow out of both tables. `key` is one's, `flow` what stood there.
ALWAYS_INLINE void forget(const struct PathFlowKey* key, const struct PathFlow* flow) {
  struct PathFlowKey other;
  reverse_key(flow, &other);
  if (flow->flags & PATH_COUNTED) add_active(flow->backend, -1);
  bpf_map_delete_elem(&path_flows, &other);
  bpf_map_delete_elem(&path_half_open, &other);
  bpf_map_delete_elem(&path_flows, key);
  bpf_map_delete_elem(&path_half_open, key);
}

ALWAYS_INLINE __u32 fate_of(const struct PathFlow* flow) {
  __u32 index = flow->backend;
  struct PathBackend* backend = flow->flags & PATH_TO_CLIENT ? 0 : bpf_map_lookup_elem(&path_backends, &index);
  return backend ? backend->flags : 0;
}

/// A packet without a flow, or whose flow is over: to the stack, or the first of a new one.
static __noinline int forward_first(struct __sk_buff* skb, struct Packet* packet, struct Scratch* scratch) {
  __u32 verdict = open_flow(skb, packet, &scratch->opening);
  if (verdict == PATH_UNKNOWN) return TC_ACT_UNSPEC;
  if (verdict != PATH_OPENED) return leave(verdict);
  bool adopted = scratch->opening.forward.flags & PATH_ADOPTED;
  count(adopted ? PATH_ADOPTED_FLOW : PATH_OPENED);
  struct PathCounts* counts = counts_of(scratch->opening.forward.backend);
  if (counts && !adopted) counts->tried += 1;
  scratch->flow = scratch->opening.forward;
  return forward_packet(skb, packet, scratch, true);
}

/// What a packet tells of a flow in the half-open table.
ALWAYS_INLINE void note_half_open(const struct Packet* packet, struct PathFlow* flow) {
  flow->seen_ns = bpf_ktime_get_coarse_ns();
  if (flow->flags & PATH_TO_CLIENT) {
    on_first_answer(packet, flow);
  } else if ((packet->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
    struct PathCounts* counts = counts_of(flow->backend);
    if (counts) counts->syn_retransmits += 1;
  } else if (completes(packet, flow)) {
    struct PathCounts* counts = counts_of(flow->backend);
    if (counts && !(flow->flags & PATH_ADOPTED)) counts->established += 1;
    add_active(flow->backend, 1);
    promote(&packet->key, flow);
  }
}

SEC("tcx/ingress")
int kernel_path(struct __sk_buff* skb) {
  // The VLAN device that this packet is for will see it without its tag.
  if (skb->vlan_present) return TC_ACT_UNSPEC;
  struct Packet packet = {};
  enum Parsed parsed = parse(skb, &packet);
  if (parsed == PARSED_OTHER) return TC_ACT_UNSPEC;
  if (parsed == PARSED_BAD) return leave(PATH_MALFORMED);
  __u32 zero = 0;
  struct Scratch* scratch = bpf_map_lookup_elem(&path_scratch, &zero);
  if (!scratch) return TC_ACT_UNSPEC;
  if (parsed == PARSED_ICMP) return forward_error(skb, &packet, scratch);
  if (parsed == PARSED_LATER_FRAGMENT) return forward_fragment(skb, &packet, scratch);

  struct PathFlow* flow = bpf_map_lookup_elem(&path_flows, &packet.key);
  bool half_open = !flow;
  if (half_open) flow = bpf_map_lookup_elem(&path_half_open, &packet.key);
  if (flow) {
    scratch->flow = *flow;
    bool opens = (packet.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
    __u32 fate = fate_of(flow);
    // A flow that is over, whose addresses are used again before the sweep came by; or one that is to have a new backend.
    bool over = (opens && flow->flags & (PATH_FIN | PATH_RST) && !(flow->flags & PATH_TO_CLIENT)) || fate & PATH_BACKEND_MOVE;
    if (!over && fate & PATH_BACKEND_RESET && !(packet.flags & TCP_RST)) {
      forget(&packet.key, &scratch->flow);
      count(PATH_RESET_DOWN);
      return answer_reset(skb, &packet, &scratch->answer);
    }
    if (!over) {
      if (half_open) {
        note_half_open(&packet, flow);
      } else {
        note(&packet, flow);
      }
      if (packet.fragment) {
        struct FragmentKey key;
        fragment_key(&packet, &key);
        bpf_map_update_elem(&path_fragments, &key, &packet.key, BPF_ANY);
      }
      return forward_packet(skb, &packet, scratch, true);
    }
    forget(&packet.key, &scratch->flow);
  }
  return forward_first(skb, &packet, scratch);
}


// The sweep: ends what is over or idle, and counts what is there. User space runs it now and then (bpf_prog_test_run_opts); while no daemon
// runs, the tables' LRU alone makes room.

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
  bool ended = flow->flags & PATH_RST || (flow->flags & PATH_FIN && (!other || other->flags & PATH_FIN));
  if (ended) return quiet > broom->closing_ns;
  bool half = flow->flags & PATH_FIN || (other && other->flags & PATH_FIN);
  return quiet > SECOND_NS * (half ? flow->half_close_seconds : flow->idle_seconds);
}

static long sweep_entry(void* map, struct PathFlowKey* key, struct PathFlow* flow, struct Broom* broom) {
  struct PathFlowKey other_key;
  reverse_key(flow, &other_key);
  struct PathFlow* other = flow->mode == PATH_DSR ? 0
                           : broom->half_open     ? bpf_map_lookup_elem(&path_half_open, &other_key)
                                                  : bpf_map_lookup_elem(&path_flows, &other_key);
  broom->found.flows += 1;
  if (broom->half_open) broom->found.half_open += 1;
  bool to_client = flow->flags & PATH_TO_CLIENT;
  if (is_over(broom, flow, other)) {
    if (!to_client || !other) broom->found.ended += 1;
    bpf_map_delete_elem(map, key);
    return 0;
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

char LICENSE[] SEC("license") = "Dual BSD/GPL";
