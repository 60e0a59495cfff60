// Reading and rewriting packets: TCP over IPv4 and IPv6, behind an Ethernet header, in a __sk_buff.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The layouts are those of RFC 791, 8200, 9293, 792 and 4443. Everything is read through the direct pointers, bounds checked; what lies
// deeper than the linear part of the packet is pulled in first.
#pragma once

// The helpers need the kernel's types, and don't include them: this order.
// clang-format off
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stddef.h>

#include "usher/steer/path_abi.h"

#define ALWAYS_INLINE static __always_inline

enum {
  HEADER_BYTES_MAX = ETH_HLEN + 60 + 60,  // Ethernet, the longest IPv4 header, the longest TCP header
  IP6_EXTENSIONS_MAX = 4,
  FRAGMENT_OFFSET_MASK = 0x1fff,
  FRAGMENT_MORE = 0x2000,
  FRAGMENT_DONT = 0x4000,
};

enum Parsed { PARSED_TCP, PARSED_ICMP, PARSED_LATER_FRAGMENT, PARSED_OTHER, PARSED_BAD };

/// What was read of a packet. Offsets are from the start of the Ethernet header.
struct Packet {
  struct PathFlowKey key;  // ports only of PARSED_TCP
  __u32 l4;
  __u32 bytes;  // of the IP packet
  __u32 sequence, acknowledgment;
  __u32 payload;
  __u32 fragment;  // its identification, with 1 << 31 if it is one
  __u8 v6;
  __u8 hops;
  __u8 flags;  // of TCP: byte 13 of its header
  __u8 zero;
};

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

ALWAYS_INLINE void address_of_v4(struct PathAddress* to, __u32 address) {
  to->words[0] = 0;
  to->words[1] = 0;
  to->words[2] = bpf_htonl(0xffff);
  to->words[3] = address;
}

ALWAYS_INLINE void address_of_v6(struct PathAddress* to, const struct in6_addr* address) {
  __builtin_memcpy(to, address, sizeof *to);
}

ALWAYS_INLINE bool same_address(const struct PathAddress* a, const struct PathAddress* b) {
  return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2] && a->words[3] == b->words[3];
}

ALWAYS_INLINE bool is_v4(const struct PathAddress* a) {
  return a->words[0] == 0 && a->words[1] == 0 && a->words[2] == bpf_htonl(0xffff);
}

/// The TCP header at packet->l4: PARSED_TCP or PARSED_BAD.
ALWAYS_INLINE enum Parsed parse_tcp(struct __sk_buff* skb, struct Packet* packet, __u32 l4_bytes) {
  void* start = (void*)(long)skb->data;
  void* end = (void*)(long)skb->data_end;
  __u32 offset = packet->l4;
  if (offset > 512) return PARSED_BAD;
  struct tcphdr* tcp = start + offset;
  if ((void*)(tcp + 1) > end) return PARSED_BAD;
  __u32 header = tcp->doff * 4U;
  if (header < sizeof *tcp || header > l4_bytes) return PARSED_BAD;
  packet->key.source_port = tcp->source;
  packet->key.destination_port = tcp->dest;
  packet->sequence = bpf_ntohl(tcp->seq);
  packet->acknowledgment = bpf_ntohl(tcp->ack_seq);
  packet->payload = l4_bytes - header;
  packet->flags = ((__u8*)tcp)[13];
  return PARSED_TCP;
}

ALWAYS_INLINE enum Parsed parse_v4(struct __sk_buff* skb, struct Packet* packet) {
  void* start = (void*)(long)skb->data;
  void* end = (void*)(long)skb->data_end;
  struct iphdr* ip = start + ETH_HLEN;
  if ((void*)(ip + 1) > end) return PARSED_BAD;
  __u32 header = ip->ihl * 4U;
  __u32 bytes = bpf_ntohs(ip->tot_len);
  // A GSO packet of more than 64 KiB says 0 (BIG TCP).
  if (bytes == 0 && skb->gso_size) bytes = skb->len - ETH_HLEN;
  if (ip->version != 4 || header < sizeof *ip || bytes < header || bytes > skb->len - ETH_HLEN) return PARSED_BAD;
  address_of_v4(&packet->key.source, ip->saddr);
  address_of_v4(&packet->key.destination, ip->daddr);
  packet->hops = ip->ttl;
  packet->bytes = bytes;
  packet->l4 = ETH_HLEN + header;
  __u16 fragment = bpf_ntohs(ip->frag_off);
  if (fragment & (FRAGMENT_OFFSET_MASK | FRAGMENT_MORE)) packet->fragment = 1U << 31 | ip->id;
  if (ip->protocol == IPPROTO_ICMP) return fragment & FRAGMENT_OFFSET_MASK ? PARSED_OTHER : PARSED_ICMP;
  if (ip->protocol != IPPROTO_TCP) return PARSED_OTHER;
  if (fragment & FRAGMENT_OFFSET_MASK) return PARSED_LATER_FRAGMENT;
  return parse_tcp(skb, packet, bytes - header);
}

struct Extension {
  __u8 next;
  __u8 length;
  __u16 rest;
  __u32 identification;
};

ALWAYS_INLINE enum Parsed parse_v6(struct __sk_buff* skb, struct Packet* packet) {
  void* start = (void*)(long)skb->data;
  void* end = (void*)(long)skb->data_end;
  struct ipv6hdr* ip = start + ETH_HLEN;
  if ((void*)(ip + 1) > end) return PARSED_BAD;
  __u32 payload = bpf_ntohs(ip->payload_len);
  if (payload == 0 && skb->gso_size) payload = skb->len - ETH_HLEN - sizeof *ip;
  if (ip->version != 6 || payload + sizeof *ip > skb->len - ETH_HLEN) return PARSED_BAD;
  address_of_v6(&packet->key.source, &ip->saddr);
  address_of_v6(&packet->key.destination, &ip->daddr);
  packet->v6 = 1;
  packet->hops = ip->hop_limit;
  packet->bytes = payload + sizeof *ip;
  __u32 offset = ETH_HLEN + sizeof *ip;
  __u8 next = ip->nexthdr;
  for (int i = 0; i < IP6_EXTENSIONS_MAX; ++i) {
    if (next == IPPROTO_TCP || next == IPPROTO_ICMPV6) break;
    if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS && next != IPPROTO_ROUTING && next != IPPROTO_FRAGMENT) return PARSED_OTHER;
    if (offset > 256) return PARSED_OTHER;
    struct Extension* extension = start + offset;
    if ((void*)(extension + 1) > end) return PARSED_BAD;
    if (next == IPPROTO_FRAGMENT) {
      packet->fragment = 1U << 31 | (extension->identification & ~(1U << 31));
      packet->l4 = offset + 8;
      if (bpf_ntohs(extension->rest) & 0xfff8) return extension->next == IPPROTO_TCP ? PARSED_LATER_FRAGMENT : PARSED_OTHER;
      offset += 8;
    } else {
      offset += 8 + extension->length * 8U;
    }
    next = extension->next;
  }
  if (offset - ETH_HLEN > packet->bytes) return PARSED_BAD;
  packet->l4 = offset;
  if (next == IPPROTO_ICMPV6) return PARSED_ICMP;
  if (next != IPPROTO_TCP) return PARSED_OTHER;
  return parse_tcp(skb, packet, packet->bytes - (offset - ETH_HLEN));
}

/// Reads a packet. PARSED_OTHER: nothing of ours; PARSED_BAD: it doesn't hold what its headers say.
ALWAYS_INLINE enum Parsed parse(struct __sk_buff* skb, struct Packet* packet) {
  // A header that isn't in the linear part can't be read: fetch what the longest one takes, or all there is.
  __u32 wanted = skb->len;
  if (wanted > HEADER_BYTES_MAX) wanted = HEADER_BYTES_MAX;
  if ((void*)(long)skb->data + wanted > (void*)(long)skb->data_end && bpf_skb_pull_data(skb, wanted) != 0) return PARSED_BAD;
  if (skb->protocol == bpf_htons(ETH_P_IP)) return parse_v4(skb, packet);
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) return parse_v6(skb, packet);
  return PARSED_OTHER;
}

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
