// The kernel datapath: forwards whole TCP flows between clients and backends, packet by packet, where they come in (tc ingress).
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What it can't or mustn't serve goes on to the stack, where the proxy listens on the same address: an address that nobody listens on, a
// pool without a ready backend, a full table, a connection that the proxy holds. It drops nothing but packets of its own flows whose hops
// are spent, or which don't fit (no helper cuts a packet, so one that might be cut gets the answer of one that may not).
//
// A flow is two entries, one a direction, each under the packets' own addresses: one lookup forwards a packet. It begins in `half_open`,
// and moves to `flows` with the packet that acknowledges the backend's answer: a flood of SYNs turns over the first table, and can't reach
// the second. Both are LRU; either entry of a flow can be made anew from the other.
#include <linux/if_packet.h>

#include "bpf/path_open.bpf.h"
#include "bpf/path_sweep.bpf.h"
#include "bpf/rtt_bucket.bpf.h"

/// Makes the other direction's entry of `flow`, whose packets have `key`, anew where the LRU has dropped it alone. REQUIRES: `skb` is such a
/// packet; no PATH_DSR, which has one direction.
ALWAYS_INLINE void revive_other(struct __sk_buff* skb, void* table, const struct PathFlowKey* key, const struct PathFlow* flow) {
  struct PathFlowKey other_key;
  reverse_key(flow, &other_key);
  if (bpf_map_lookup_elem(table, &other_key)) return;
  struct PathFlow other = *flow;
  reverse_rewrite(key, &other);
  other.sequence = 0;
  // What was seen of its own end is lost; an idle timeout ends it then.
  other.flags = (flow->flags & (PATH_ADOPTED | PATH_RST)) | (flow->flags & PATH_TO_CLIENT ? PATH_COUNTED : PATH_TO_CLIENT);
  other.interface_index = skb->ingress_ifindex ? skb->ingress_ifindex : skb->ifindex;
  bpf_map_update_elem(table, &other_key, &other, BPF_NOEXIST);
}

/// The handshake of a half-open flow is whole: both entries move to the other table. False where the new ones don't fit: the old stay.
ALWAYS_INLINE bool promote(const struct Packet* packet, struct PathFlow* forward) {
  const struct PathFlowKey* key = &packet->key;
  struct PathFlowKey other_key;
  struct PathFlow entry = *forward;
  reverse_key(forward, &other_key);
  struct PathFlow* back = forward->mode == PATH_DSR ? 0 : bpf_map_lookup_elem(&path_half_open, &other_key);
  entry.flags |= PATH_COUNTED;
  entry.sequence = packet->payload ? packet->sequence + packet->payload : 0;
  if (back && bpf_map_update_elem(&path_flows, &other_key, back, BPF_ANY) != 0) return false;
  if (bpf_map_update_elem(&path_flows, key, &entry, BPF_ANY) != 0) return false;
  bpf_map_delete_elem(&path_half_open, &other_key);
  bpf_map_delete_elem(&path_half_open, key);
  return true;
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

/// The backend has said something for the first time; `back` is its direction's entry, in the half-open table.
ALWAYS_INLINE void on_first_answer(const struct Packet* packet, struct PathFlow* back) {
  struct PathFlowKey key;
  reverse_key(back, &key);
  struct PathFlow* forward = bpf_map_lookup_elem(&path_half_open, &key);
  struct PathCounts* counts = counts_of(back->backend);
  if (packet->flags & TCP_RST) {
    // Only an answer to a first packet is a refusal: a flow that began elsewhere was never tried here.
    if (counts && !(back->flags & PATH_ADOPTED)) counts->refused += 1;
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
ALWAYS_INLINE void note(struct __sk_buff* skb, const struct Packet* packet, struct PathFlow* flow) {
  __u64 now = bpf_ktime_get_coarse_ns();
  if (now - flow->seen_ns > COARSE_NS) {
    flow->seen_ns = now;
    if (flow->mode != PATH_DSR) revive_other(skb, &path_flows, &packet->key, flow);
  }
  if (packet->flags & (TCP_FIN | TCP_RST)) {
    flow->seen_ns = now;
    note_end(packet, flow);
  }
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
  // fit() has seen to the size of the segments: wrapped, they shall not shrink again.
  __u64 flags = (outer_v6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) | BPF_F_ADJ_ROOM_NO_CSUM_RESET |
                BPF_F_ADJ_ROOM_FIXED_GSO;
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

/// The later fragments of this packet will go where it goes.
ALWAYS_INLINE void remember_fragment(const struct Packet* packet) {
  struct FragmentKey key;
  fragment_key(packet, &key);
  bpf_map_update_elem(&path_fragments, &key, &packet->key, BPF_ANY);
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

/// An error about a packet that went out from here goes on to who had sent that packet, in its own words. With direct server return, errors
/// about the backend's answers come to the address that these bear, which is here: they are wrapped as the client's packets are.
static __noinline int forward_error(struct __sk_buff* skb, struct Packet* packet, struct Scratch* scratch) {
  struct Carried carried;
  if (!parse_carried(skb, packet, &carried)) return TC_ACT_UNSPEC;
  struct PathFlowKey key = {.source = carried.key.destination,
                            .destination = carried.key.source,
                            .source_port = carried.key.destination_port,
                            .destination_port = carried.key.source_port};
  if (!find(&key, &scratch->flow)) return TC_ACT_UNSPEC;
  if (packet->hops <= 1) return drop(PATH_HOPS);
  if (scratch->flow.mode == PATH_DSR) {
    if (wrap(skb, packet, &scratch->flow, &scratch->answer) != 0) return drop(PATH_MALFORMED);
  } else if (rewrite_error(skb, packet, &carried, &scratch->flow) != 0) {
    return drop(PATH_MALFORMED);
  }
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
  if (packet->fragment) remember_fragment(packet);
  scratch->flow = scratch->opening.forward;
  return forward_packet(skb, packet, scratch, true);
}

/// What a packet tells of a flow in the half-open table.
ALWAYS_INLINE void note_half_open(struct __sk_buff* skb, const struct Packet* packet, struct PathFlow* flow) {
  flow->seen_ns = bpf_ktime_get_coarse_ns();
  if (flow->flags & PATH_TO_CLIENT) {
    on_first_answer(packet, flow);
  } else if ((packet->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
    struct PathCounts* counts = counts_of(flow->backend);
    if (counts) counts->syn_retransmits += 1;
    // A flood may have turned over the half-open table meanwhile, and dropped the answers' entry alone.
    if (flow->mode != PATH_DSR) revive_other(skb, &path_half_open, &packet->key, flow);
  } else if (completes(packet, flow) && promote(packet, flow)) {
    struct PathCounts* counts = counts_of(flow->backend);
    if (counts && !(flow->flags & PATH_ADOPTED)) counts->established += 1;
    add_active(flow->backend, 1);
  }
}

SEC("tcx/ingress")
int kernel_path(struct __sk_buff* skb) {
  // The VLAN device that this packet is for will see it without its tag. What is for another host's MAC, seen because the device listens to
  // all (promiscuous, bridged), or for many (broadcast), isn't this host's to answer or to forward.
  if (skb->vlan_present || skb->pkt_type != PACKET_HOST) return TC_ACT_UNSPEC;
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
    // A first packet that is sent again because its backend has gone loses nothing by a new one, whatever the pool wants for the others.
    bool over = (opens && flow->flags & (PATH_FIN | PATH_RST) && !(flow->flags & PATH_TO_CLIENT)) || fate & PATH_BACKEND_MOVE ||
                (opens && half_open && fate & PATH_BACKEND_RESET);
    if (!over && fate & PATH_BACKEND_RESET && !(packet.flags & TCP_RST)) {
      forget(&packet.key, &scratch->flow);
      count(PATH_RESET_DOWN);
      return answer_reset(skb, &packet, &scratch->answer);
    }
    if (!over) {
      if (half_open) {
        note_half_open(skb, &packet, flow);
      } else {
        note(skb, &packet, flow);
      }
      if (packet.fragment) remember_fragment(&packet);
      return forward_packet(skb, &packet, scratch, true);
    }
    forget(&packet.key, &scratch->flow);
  }
  return forward_first(skb, &packet, scratch);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
