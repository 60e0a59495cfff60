// Answers that usher gives itself: a reset, "packet too big".
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#pragma once

#include "bpf/icmp_error.bpf.h"

enum {
  CARRIED_BYTES = 128,  // of the packet that an error message is about: its headers, whatever their options (RFC 1812, 4.3.2.3)
};

/// What a reset or an error message is made in: too much for the stack.
struct Answer {
  __u8 bytes[sizeof(struct ipv6hdr) + 8 + CARRIED_BYTES];
};

ALWAYS_INLINE __u16 checksum_of(const void* bytes, __u32 length, __u32 start) {
  return (__u16)~fold((__u32)bpf_csum_diff(0, 0, (__be32*)bytes, length, start));
}

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
    ip->payload_len = payload > 65535 ? 0 : bpf_htons((__u16)payload);  // BIG TCP; what is cut into segments gets its length then
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
  ip->tot_len = payload + sizeof *ip > 65535 ? 0 : bpf_htons((__u16)(payload + sizeof *ip));
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

/// Makes a frame of `length` bytes out of a packet, back to who sent it, whose content is to be written; 0, or -1.
///
/// A packet of a neighbour on this machine (veth, virtio) may say that its checksum is still to be filled in: at the offset of its TCP header
/// (CHECKSUM_PARTIAL). An answer would have that filled in over its own content, and no helper clears the mark. But a packet that is pulled
/// beyond that offset loses it (skb_postpull_rcsum), and what an answer needs of it has been read: so it is made longer by all its headers,
/// and these are taken off in front.
ALWAYS_INLINE int blank(struct __sk_buff* skb, const struct Packet* packet, __u32 length) {
  __u32 headers = packet->l4 + 2;
  if (headers > 512) return -1;
  // This makes one of many segments (GSO) a single one, too.
  if (bpf_skb_change_tail(skb, length + headers, 0) != 0) return -1;
  if (bpf_skb_adjust_room(skb, -(__s32)headers, BPF_ADJ_ROOM_MAC, 0) != 0) return -1;
  return swap_ethernet(skb);
}

enum { STORED = BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH };

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
  if (blank(skb, packet, ETH_HLEN + header + sizeof tcp) != 0) return TC_ACT_SHOT;
  // Constants for lengths: the verifier wants them known.
  long stored = packet->v6 ? bpf_skb_store_bytes(skb, ETH_HLEN, answer->bytes, sizeof(struct ipv6hdr), STORED)
                           : bpf_skb_store_bytes(skb, ETH_HLEN, answer->bytes, sizeof(struct iphdr), STORED);
  if (stored != 0 || bpf_skb_store_bytes(skb, ETH_HLEN + header, &tcp, sizeof tcp, STORED) != 0) return TC_ACT_SHOT;
  return (int)bpf_redirect(skb->ifindex, 0);
}

/// Turns a packet that doesn't fit where it must go into "packet too big", back to who sent it (RFC 1191; RFC 4443, 3.2). REQUIRES: it has
/// more than CARRIED_BYTES.
ALWAYS_INLINE int answer_too_big(struct __sk_buff* skb, const struct Packet* packet, __u32 mtu, struct Answer* answer) {
  struct IcmpHeader icmp = {};
  __u8* bytes = answer->bytes;
  bool v6 = packet->v6;
  __u32 header = put_header(bytes, &packet->key.destination, &packet->key.source, v6, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP,
                            sizeof icmp + CARRIED_BYTES);
  icmp.type = v6 ? ICMP6_PACKET_TOO_BIG : ICMP4_UNREACHABLE;
  icmp.code = v6 ? 0 : ICMP4_FRAGMENTATION_NEEDED;
  icmp.rest = bpf_htonl(mtu);
  __u32 sum = v6 ? pseudo_sum(&packet->key.destination, &packet->key.source, true, IPPROTO_ICMPV6, sizeof icmp + CARRIED_BYTES) : 0;
  // Constants for offsets, too: each family has a branch of its own.
  if (v6) {
    __u8* carried = bytes + sizeof(struct ipv6hdr) + sizeof icmp;
    if (bpf_skb_load_bytes(skb, ETH_HLEN, carried, CARRIED_BYTES) != 0) return TC_ACT_SHOT;
    sum = (__u32)bpf_csum_diff(0, 0, (__be32*)carried, CARRIED_BYTES, sum);
  } else {
    __u8* carried = bytes + sizeof(struct iphdr) + sizeof icmp;
    if (bpf_skb_load_bytes(skb, ETH_HLEN, carried, CARRIED_BYTES) != 0) return TC_ACT_SHOT;
    sum = (__u32)bpf_csum_diff(0, 0, (__be32*)carried, CARRIED_BYTES, sum);
  }
  icmp.checksum = checksum_of(&icmp, sizeof icmp, sum);
  __builtin_memcpy(bytes + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)), &icmp, sizeof icmp);
  if (blank(skb, packet, ETH_HLEN + header + sizeof icmp + CARRIED_BYTES) != 0) return TC_ACT_SHOT;
  long stored = v6 ? bpf_skb_store_bytes(skb, ETH_HLEN, bytes, sizeof(struct ipv6hdr) + sizeof icmp + CARRIED_BYTES, STORED)
                   : bpf_skb_store_bytes(skb, ETH_HLEN, bytes, sizeof(struct iphdr) + sizeof icmp + CARRIED_BYTES, STORED);
  return stored == 0 ? (int)bpf_redirect(skb->ifindex, 0) : TC_ACT_SHOT;
}
