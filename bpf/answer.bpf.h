// Answers that usher gives itself: a reset, "packet too big".
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#pragma once

#include "packet.bpf.h"

/// What a reset or an error message is made in: too much for the stack.
struct Answer {
  __u8 bytes[128];
};

ALWAYS_INLINE __u16 checksum_of(const void* bytes, __u32 length, __u32 start) { return (__u16)~fold((__u32)bpf_csum_diff(0, 0, (__be32*)bytes, length, start)); }

ALWAYS_INLINE int swap_ethernet(struct __sk_buff* skb) {
  struct ethhdr* ethernet = (void*)(long)skb->data;
  if ((void*)(ethernet + 1) > (void*)(long)skb->data_end) return -1;
  __u8 mine[ETH_ALEN];
  __builtin_memcpy(mine, ethernet->h_dest, ETH_ALEN);
  __builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
  __builtin_memcpy(ethernet->h_source, mine, ETH_ALEN);
  return 0;
}

/// Puts an IP header of a packet from `source` to `destination` into `to`, for `payload` bytes of `protocol`. Its length.
ALWAYS_INLINE __u32 put_header(__u8* to, const struct PathAddress* source, const struct PathAddress* destination, bool v6, __u8 protocol,
                               __u32 payload) {
  if (v6) {
    struct ipv6hdr* ip = (void*)to;
    __builtin_memset(ip, 0, sizeof *ip);
    ip->version = 6;
    ip->payload_len = bpf_htons((__u16)payload);
    ip->nexthdr = protocol;
    ip->hop_limit = ANSWER_HOPS;
    __builtin_memcpy(&ip->saddr, source, 16);
    __builtin_memcpy(&ip->daddr, destination, 16);
    return sizeof *ip;
  }
  struct iphdr* ip = (void*)to;
  __builtin_memset(ip, 0, sizeof *ip);
  ip->version = 4;
  ip->ihl = 5;
  ip->tot_len = bpf_htons((__u16)(payload + sizeof *ip));
  ip->frag_off = bpf_htons(FRAGMENT_DONT);
  ip->ttl = ANSWER_HOPS;
  ip->protocol = protocol;
  ip->saddr = source->words[3];
  ip->daddr = destination->words[3];
  ip->check = checksum_of(ip, sizeof *ip, 0);
  return sizeof *ip;
}

/// The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1).
ALWAYS_INLINE __u32 pseudo_sum(const struct PathAddress* source, const struct PathAddress* destination, bool v6, __u8 protocol, __u32 bytes) {
  __be32 rest[2] = {bpf_htonl(bytes), bpf_htonl(protocol)};
  __u32 sum = (__u32)bpf_csum_diff(0, 0, rest, sizeof rest, 0);
  if (v6) {
    sum = (__u32)bpf_csum_diff(0, 0, (__be32*)source, 16, sum);
    return (__u32)bpf_csum_diff(0, 0, (__be32*)destination, 16, sum);
  }
  __be32 addresses[2] = {source->words[3], destination->words[3]};
  return (__u32)bpf_csum_diff(0, 0, addresses, sizeof addresses, sum);
}

/// Turns a packet into a reset of its own connection, back to who sent it (RFC 9293, 3.5.2: sequence from its acknowledgment). REQUIRES: it is
/// TCP and no reset. TC_ACT_REDIRECT, or TC_ACT_SHOT where it couldn't be made.
ALWAYS_INLINE int answer_reset(struct __sk_buff* skb, const struct Packet* packet, struct Answer* answer) {
  struct tcphdr tcp = {};
  bool acknowledges = packet->flags & TCP_ACK;
  tcp.source = packet->key.destination_port;
  tcp.dest = packet->key.source_port;
  tcp.doff = 5;
  tcp.rst = 1;
  tcp.seq = acknowledges ? bpf_htonl(packet->acknowledgment) : 0;
  tcp.ack = !acknowledges;
  __u32 length = packet->payload + !!(packet->flags & TCP_SYN) + !!(packet->flags & TCP_FIN);
  tcp.ack_seq = acknowledges ? 0 : bpf_htonl(packet->sequence + length);
  tcp.check = checksum_of(&tcp, sizeof tcp,
                          pseudo_sum(&packet->key.destination, &packet->key.source, packet->v6, IPPROTO_TCP, sizeof tcp));
  __u32 header = put_header(answer->bytes, &packet->key.destination, &packet->key.source, packet->v6, IPPROTO_TCP, sizeof tcp);
  if (bpf_skb_change_tail(skb, ETH_HLEN + header + sizeof tcp, 0) != 0 || swap_ethernet(skb) != 0) return TC_ACT_SHOT;
  // Constants for lengths: the verifier wants them known.
  long stored = packet->v6 ? bpf_skb_store_bytes(skb, ETH_HLEN, answer->bytes, sizeof(struct ipv6hdr), 0)
                           : bpf_skb_store_bytes(skb, ETH_HLEN, answer->bytes, sizeof(struct iphdr), 0);
  if (stored != 0 || bpf_skb_store_bytes(skb, ETH_HLEN + header, &tcp, sizeof tcp, BPF_F_INVALIDATE_HASH) != 0) return TC_ACT_SHOT;
  return (int)bpf_redirect(skb->ifindex, 0);
}

/// Turns a packet that doesn't fit where it must go into "packet too big", back to who sent it (RFC 1191; RFC 4443, 3.2).
ALWAYS_INLINE int answer_too_big(struct __sk_buff* skb, const struct Packet* packet, __u32 mtu, struct Answer* answer) {
  enum { CARRIED4 = 28, CARRIED6 = 48 };  // the packet's own header and eight bytes: what RFC 792 asks for
  // Room for IPv4 options isn't made: the header is carried as if it had none, the ports right behind it.
  __u8* bytes = answer->bytes;
  struct IcmpHeader icmp = {};
  __u32 carried = packet->v6 ? CARRIED6 : CARRIED4;
  __u32 header = put_header(bytes, &packet->key.destination, &packet->key.source, packet->v6,
                            packet->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, sizeof icmp + carried);
  __u32 sum = 0;
  if (packet->v6) {
    icmp.type = ICMP6_PACKET_TOO_BIG;
    icmp.rest = bpf_htonl(mtu);
    if (bpf_skb_load_bytes(skb, ETH_HLEN, bytes + 48, 40) != 0 || bpf_skb_load_bytes(skb, packet->l4, bytes + 88, 8) != 0) return TC_ACT_SHOT;
    sum = pseudo_sum(&packet->key.destination, &packet->key.source, true, IPPROTO_ICMPV6, sizeof icmp + CARRIED6);
    sum = (__u32)bpf_csum_diff(0, 0, (__be32*)(bytes + 48), CARRIED6, sum);
  } else {
    icmp.type = ICMP4_UNREACHABLE;
    icmp.code = ICMP4_FRAGMENTATION_NEEDED;
    icmp.rest = bpf_htonl(mtu);
    if (bpf_skb_load_bytes(skb, ETH_HLEN, bytes + 28, 20) != 0 || bpf_skb_load_bytes(skb, packet->l4, bytes + 48, 8) != 0) return TC_ACT_SHOT;
    struct iphdr* ip = (void*)(bytes + 28);
    if (ip->ihl != 5) {
      ip->ihl = 5;
      ip->check = 0;
      ip->check = checksum_of(ip, sizeof *ip, 0);
    }
    sum = (__u32)bpf_csum_diff(0, 0, (__be32*)(bytes + 28), CARRIED4, 0);
  }
  icmp.checksum = checksum_of(&icmp, sizeof icmp, sum);
  if (bpf_skb_change_tail(skb, ETH_HLEN + header + sizeof icmp + carried, 0) != 0 || swap_ethernet(skb) != 0) return TC_ACT_SHOT;
  __builtin_memcpy(bytes + (packet->v6 ? 40 : 20), &icmp, sizeof icmp);
  long stored = packet->v6 ? bpf_skb_store_bytes(skb, ETH_HLEN, bytes, 40 + 8 + CARRIED6, BPF_F_INVALIDATE_HASH)
                           : bpf_skb_store_bytes(skb, ETH_HLEN, bytes, 20 + 8 + CARRIED4, BPF_F_INVALIDATE_HASH);
  return stored == 0 ? (int)bpf_redirect(skb->ifindex, 0) : TC_ACT_SHOT;
}
