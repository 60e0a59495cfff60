// ICMP errors about packets that usher had sent: read, and translated for who had sent them to usher.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#pragma once

#include "bpf/rewrite.bpf.h"

enum {
  ICMP_HEADER_BYTES = 8,
  ICMP4_UNREACHABLE = 3,
  ICMP4_FRAGMENTATION_NEEDED = 4,
  ICMP4_SOURCE_QUENCH = 4,
  ICMP4_TIME_EXCEEDED = 11,
  ICMP4_PARAMETER_PROBLEM = 12,
  ICMP6_UNREACHABLE = 1,
  ICMP6_PACKET_TOO_BIG = 2,
  ICMP6_PARAMETER_PROBLEM = 4,
  ANSWER_HOPS = 64,
};

struct IcmpHeader {
  __u8 type;
  __u8 code;
  __u16 checksum;
  __u32 rest;  // of "packet too big": the MTU
};

/// The first bytes of a packet that an error message carries: addresses and ports as they were when usher had sent it.
struct Carried {
  struct PathFlowKey key;
  __u32 ip;  // offset
  __u32 l4;  // offset
};

ALWAYS_INLINE bool carries_packet(const struct IcmpHeader* icmp, bool v6) {
  if (v6) return icmp->type >= ICMP6_UNREACHABLE && icmp->type <= ICMP6_PARAMETER_PROBLEM;
  return icmp->type == ICMP4_UNREACHABLE || icmp->type == ICMP4_SOURCE_QUENCH || icmp->type == ICMP4_TIME_EXCEEDED ||
         icmp->type == ICMP4_PARAMETER_PROBLEM;
}

/// Reads what an ICMP error carries; false where it is no error, not about TCP, or not sent to who sent that packet.
ALWAYS_INLINE bool parse_carried(struct __sk_buff* skb, const struct Packet* packet, struct Carried* carried) {
  __u32 offset = packet->l4;
  if (offset > 512) return false;
  // Its headers may lie beyond what parse() has pulled in.
  __u32 wanted = offset + ICMP_HEADER_BYTES + 60 + 8;
  if (wanted > skb->len) wanted = skb->len;
  if ((void*)(long)skb->data + wanted > (void*)(long)skb->data_end && bpf_skb_pull_data(skb, wanted) != 0) return false;
  void* start = (void*)(long)skb->data;
  void* end = (void*)(long)skb->data_end;
  struct IcmpHeader* icmp = start + offset;
  if ((void*)(icmp + 1) > end || !carries_packet(icmp, packet->v6)) return false;
  __u32 inner = offset + ICMP_HEADER_BYTES;
  __u32 l4 = inner;
  if (packet->v6) {
    struct ipv6hdr* ip = start + inner;
    if ((void*)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_TCP) return false;
    address_of_v6(&carried->key.source, &ip->saddr);
    address_of_v6(&carried->key.destination, &ip->daddr);
    l4 += sizeof *ip;
  } else {
    struct iphdr* ip = start + inner;
    if ((void*)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP) return false;
    if (ip->frag_off & bpf_htons(FRAGMENT_OFFSET_MASK)) return false;
    address_of_v4(&carried->key.source, ip->saddr);
    address_of_v4(&carried->key.destination, ip->daddr);
    l4 += ip->ihl * 4U;
  }
  if (l4 > 640 || !same_address(&carried->key.source, &packet->key.destination)) return false;
  __u16* ports = start + l4;
  if ((void*)(ports + 4) > end) return false;  // 8 bytes are the least that it must carry (RFC 792)
  carried->key.source_port = ports[0];
  carried->key.destination_port = ports[1];
  carried->ip = inner;
  carried->l4 = l4;
  return true;
}

/// Makes an error about a packet that usher had rewritten one about the packet as its sender knows it. `back` is the flow's other direction:
/// it tells what the addresses were. 0, or -1 where the packet couldn't be written.
ALWAYS_INLINE int rewrite_error(struct __sk_buff* skb, const struct Packet* packet, const struct Carried* carried,
                                const struct PathFlow* back) {
  void* start = (void*)(long)skb->data;
  void* end = (void*)(long)skb->data_end;
  __u32 icmp_offset = packet->l4, ip_offset = carried->ip, l4_offset = carried->l4;
  if (icmp_offset > 512 || ip_offset > 520 || l4_offset > 640) return -1;
  struct IcmpHeader* icmp = start + icmp_offset;
  if ((void*)(icmp + 1) > end) return -1;
  __u32* ports = start + l4_offset;
  if ((void*)(ports + 2) > end) return -1;
  __be32 ports_from = *ports;
  __be32 ports_to = ((__u32)back->new_source_port << 16) | back->new_destination_port;
  *ports = ports_to;
  __s64 icmp_difference = bpf_csum_diff(&ports_from, 4, &ports_to, 4, 0);
  // The carried packet went the other way: its source is where this one goes.
  if (packet->v6) {
    struct ipv6hdr* outer = start + ETH_HLEN;
    struct ipv6hdr* ip = start + ip_offset;
    if ((void*)(outer + 1) > end || (void*)(ip + 1) > end) return -1;
    // The checksum covers the carried addresses and, by the pseudo header, the outer ones.
    icmp_difference = bpf_csum_diff((__be32*)&carried->key, 32, (__be32*)&back->new_source, 32, (__u32)icmp_difference);
    icmp_difference = bpf_csum_diff((__be32*)&packet->key, 32, (__be32*)&back->new_source, 32, (__u32)icmp_difference);
    __builtin_memcpy(&ip->saddr, &back->new_destination, 16);
    __builtin_memcpy(&ip->daddr, &back->new_source, 16);
    __builtin_memcpy(&outer->saddr, &back->new_source, 16);
    __builtin_memcpy(&outer->daddr, &back->new_destination, 16);
    take_hop6(skb, outer);
  } else {
    struct iphdr* outer = start + ETH_HLEN;
    struct iphdr* ip = start + ip_offset;
    if ((void*)(outer + 1) > end || (void*)(ip + 1) > end) return -1;
    __be32 inner_from[2] = {ip->saddr, ip->daddr};
    __be32 outer_from[2] = {outer->saddr, outer->daddr};
    __be32 to[2] = {back->new_source.words[3], back->new_destination.words[3]};
    // The carried header's own checksum moves with its addresses, so that together they sum up to what they did.
    ip->check = checksum_after(ip->check, bpf_csum_diff(inner_from, 8, to, 8, 0));
    ip->saddr = to[1];
    ip->daddr = to[0];
    outer->check = checksum_after(outer->check, bpf_csum_diff(outer_from, 8, to, 8, 0) + (__u16)~bpf_htons(0x0100));
    outer->saddr = to[0];
    outer->daddr = to[1];
    --outer->ttl;
  }
  icmp->checksum = checksum_after(icmp->checksum, icmp_difference);
  return 0;
}
