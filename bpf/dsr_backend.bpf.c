// Direct server return's other end, on a backend: takes the outer header off what a balancer has wrapped, and lets the stack have the rest.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// IP in IP, each family in each (RFC 2003, 2473, 4213), whose inner destination is an address that this host was told to serve. Everything
// else goes on untouched: other tunnels of the host as well. No tunnel device is needed, and none of its MTU or reverse path filter.
#include <linux/if_packet.h>

#include "bpf/packet.bpf.h"
#include "usher/steer/dsr_abi.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, DSR_ADDRESSES_MAX);
  __type(key, struct PathAddress);
  __type(value, __u32);
} dsr_addresses SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, DSR_VERDICTS);
  __type(key, __u32);
  __type(value, __u64);
} dsr_verdicts SEC(".maps");

ALWAYS_INLINE int answer(__u32 verdict, int way) {
  __u64* value = bpf_map_lookup_elem(&dsr_verdicts, &verdict);
  if (value) *value += 1;  // per CPU, and this runs with softirqs off
  return way;
}

/// What was read of the outer header.
struct Outer {
  __u32 bytes;
  __u8 protocol;
  __u8 congested;  // a router on the way has marked it (RFC 3168)
};

ALWAYS_INLINE bool read_outer(struct __sk_buff* skb, struct Outer* outer) {
  void* start = (void*)(long)skb->data;
  void* end = (void*)(long)skb->data_end;
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    struct iphdr* ip = start + ETH_HLEN;
    if ((void*)(ip + 1) > end || ip->version != 4 || ip->ihl < 5) return false;
    if (ip->frag_off & bpf_htons(FRAGMENT_OFFSET_MASK | FRAGMENT_MORE)) return false;  // the balancer forbids that
    outer->bytes = ip->ihl * 4U;
    outer->protocol = ip->protocol;
    outer->congested = (ip->tos & 3) == 3;
    return true;
  }
  if (skb->protocol != bpf_htons(ETH_P_IPV6)) return false;
  struct ipv6hdr* ip = start + ETH_HLEN;
  if ((void*)(ip + 1) > end || ip->version != 6) return false;
  outer->bytes = sizeof *ip;
  outer->protocol = ip->nexthdr;
  outer->congested = (((__u8*)ip)[1] >> 4 & 3) == 3;
  return true;
}

/// The inner packet's destination.
ALWAYS_INLINE bool read_inner(struct __sk_buff* skb, const struct Outer* outer, struct PathAddress* destination) {
  void* start = (void*)(long)skb->data;
  void* end = (void*)(long)skb->data_end;
  __u32 offset = ETH_HLEN + outer->bytes;
  if (offset > ETH_HLEN + 60) return false;
  if (outer->protocol == IPPROTO_IPIP) {
    struct iphdr* ip = start + offset;
    if ((void*)(ip + 1) > end || ip->version != 4) return false;
    address_of_v4(destination, ip->daddr);
    return true;
  }
  struct ipv6hdr* ip = start + offset;
  if ((void*)(ip + 1) > end || ip->version != 6) return false;
  address_of_v6(destination, &ip->daddr);
  return true;
}

SEC("tcx/ingress")
int dsr_backend(struct __sk_buff* skb) {
  enum { HEADERS = ETH_HLEN + 60 + sizeof(struct ipv6hdr) };
  enum { DECAP_L3_IPV4 = 1 << 7, DECAP_L3_IPV6 = 1 << 8 };  // BPF_F_ADJ_ROOM_DECAP_L3_*, of Linux 6.3
  if (skb->vlan_present || skb->pkt_type != PACKET_HOST) return TC_ACT_UNSPEC;
  __u32 wanted = skb->len;
  if (wanted > HEADERS) wanted = HEADERS;
  if ((void*)(long)skb->data + wanted > (void*)(long)skb->data_end && bpf_skb_pull_data(skb, wanted) != 0) return TC_ACT_UNSPEC;
  struct Outer outer = {};
  if (!read_outer(skb, &outer) || (outer.protocol != IPPROTO_IPIP && outer.protocol != IPPROTO_IPV6)) return TC_ACT_UNSPEC;
  struct PathAddress destination;
  if (!read_inner(skb, &outer, &destination) || !bpf_map_lookup_elem(&dsr_addresses, &destination)) {
    return answer(DSR_OTHER_TUNNEL, TC_ACT_UNSPEC);
  }
  // The segments keep their size: what the balancer's outer header took was taken off nothing.
  __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
  __u16 protocol = outer.protocol == IPPROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
  bool turns = skb->protocol != protocol;
  if (turns) flags |= outer.protocol == IPPROTO_IPIP ? DECAP_L3_IPV4 : DECAP_L3_IPV6;
  if (bpf_skb_adjust_room(skb, -(__s32)outer.bytes, BPF_ADJ_ROOM_MAC, flags) != 0) return answer(DSR_REFUSED, TC_ACT_UNSPEC);
  if (turns && bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &protocol, sizeof protocol, 0) != 0) {
    return answer(DSR_REFUSED, TC_ACT_SHOT);
  }
  // A mark of congestion goes inside; where the inner packet can't bear one, the loss of it tells the sender instead (RFC 6040, 4.2).
  if (outer.congested && bpf_skb_ecn_set_ce(skb) != 1) return answer(DSR_CONGESTED, TC_ACT_SHOT);
  return answer(DSR_TAKEN, TC_ACT_UNSPEC);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
