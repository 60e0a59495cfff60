// Reading packets: TCP over IPv4 and IPv6, behind an Ethernet header, in a __sk_buff.
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
