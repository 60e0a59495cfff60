// Rewriting packets: the flow's addresses for the packet's own, every checksum kept right.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#pragma once

#include "bpf/packet.bpf.h"

/// A 32-bit checksum folded to what a header holds, not complemented (RFC 1071).
ALWAYS_INLINE __u16 fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)((sum & 0xffff) + (sum >> 16));
}

/// An IPv4 header's checksum after `from` became `to` (RFC 1624, equation 3).
ALWAYS_INLINE __u16 checksum_after(__u16 checksum, __s64 difference) { return (__u16)~fold((__u64)(__u16)~checksum + (__u64)difference); }

/// Takes one hop off an IPv6 header. Nothing in it makes up for that byte, so the sum that a device has made of the whole packet
/// (CHECKSUM_COMPLETE) is told; where there is none, the helper does nothing. IPv4's own checksum does make up for it.
ALWAYS_INLINE void take_hop6(struct __sk_buff* skb, struct ipv6hdr* ip) {
  --ip->hop_limit;
  bpf_csum_update(skb, (__u16)~bpf_htons(1));
}

/// A changed pseudo header into the checksum at `check`. Of an IPv6 packet the addresses lie under CHECKSUM_COMPLETE as well, and make up for
/// the field; a kernel before 6.16 doesn't know that flag, nor the difference.
ALWAYS_INLINE long replace_pseudo(struct __sk_buff* skb, __u32 check, __s64 difference, bool v6) {
  enum { OVER_IPV6 = 1 << 7 };  // BPF_F_IPV6
  if (v6 && bpf_l4_csum_replace(skb, check, 0, difference, BPF_F_PSEUDO_HDR | OVER_IPV6) == 0) return 0;
  return bpf_l4_csum_replace(skb, check, 0, difference, BPF_F_PSEUDO_HDR);
}

/// Puts the flow's addresses and ports into a packet, takes one hop off, and keeps its checksums right. 0, or a negative errno where the
/// packet couldn't be written. REQUIRES: parse() read it as TCP, or as a later fragment (`has_ports` false).
ALWAYS_INLINE int rewrite(struct __sk_buff* skb, const struct Packet* packet, const struct PathFlow* flow, bool has_ports) {
  void* start = (void*)(long)skb->data;
  void* end = (void*)(long)skb->data_end;
  __s64 difference;
  if (packet->v6) {
    struct ipv6hdr* ip = start + ETH_HLEN;
    if ((void*)(ip + 1) > end) return -1;
    difference = bpf_csum_diff((__be32*)&packet->key, 32, (__be32*)&flow->new_source, 32, 0);
    __builtin_memcpy(&ip->saddr, &flow->new_source, 16);
    __builtin_memcpy(&ip->daddr, &flow->new_destination, 16);
    take_hop6(skb, ip);
  } else {
    struct iphdr* ip = start + ETH_HLEN;
    if ((void*)(ip + 1) > end) return -1;
    __be32 from[2] = {packet->key.source.words[3], packet->key.destination.words[3]};
    __be32 to[2] = {flow->new_source.words[3], flow->new_destination.words[3]};
    difference = bpf_csum_diff(from, sizeof from, to, sizeof to, 0);
    ip->saddr = to[0];
    ip->daddr = to[1];
    --ip->ttl;
    // A hop less is 0x0100 less in the word that holds it.
    ip->check = checksum_after(ip->check, difference + (__u16)~bpf_htons(0x0100));
  }
  if (!has_ports) return 0;
  __u32 l4 = packet->l4;
  if (l4 > 512) return -1;
  struct tcphdr* tcp = start + l4;
  if ((void*)(tcp + 1) > end) return -1;
  __u32 ports_from = ((__u32)packet->key.destination_port << 16) | packet->key.source_port;
  __u32 ports_to = ((__u32)flow->new_destination_port << 16) | flow->new_source_port;
  *(__u32*)tcp = ports_to;
  // The helper knows of checksums that hardware finishes later (CHECKSUM_PARTIAL), which cover the addresses and not the ports.
  __u32 check = l4 + offsetof(struct tcphdr, check);
  if (replace_pseudo(skb, check, difference, packet->v6) != 0) return -1;
  if (ports_from == ports_to) return 0;
  return bpf_l4_csum_replace(skb, check, ports_from, ports_to, 4) == 0 ? 0 : -1;
}
