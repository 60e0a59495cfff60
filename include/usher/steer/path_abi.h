// What the kernel datapath's programs and user space share: keys, values, limits, and the names of what is counted.
//
// Plain C, read by clang for BPF and by the C++ compilers; both check the layout below. Addresses and ports are in network order, everything
// else in host order. An IPv4 address a.b.c.d is ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that one table serves both families.
#pragma once

#include <linux/types.h>

#ifdef __cplusplus
#define USHER_ABI_ASSERT(condition, why) static_assert(condition, why)
#else
#define USHER_ABI_ASSERT(condition, why) _Static_assert(condition, why)
#endif

enum {
  PATH_ABI = 1,               // moves on when a layout below changes: a daemon adopts pinned maps of its own number only
  PATH_SERVICES_MAX = 1024,   // addresses that are listened on
  PATH_BACKENDS_MAX = 4096,   // numbers outlive the daemon: not its BackendIds, see control/kernel_numbers.h
  PATH_LOCALS_MAX = 1024,     // addresses of this host, for services that listen on every one
  PATH_PORT_RANGES = 4,       // of source ports that the stack leaves alone
  PATH_PORT_ATTEMPTS = 32,    // ports tried for one connection before it is left to the proxy
  PATH_RTT_BUCKETS = 32,      // of the connect time: bucket b holds 2^b up to 2^(b+1) microseconds
};

struct PathAddress {
  __u32 words[4];
};

struct PathServiceKey {
  struct PathAddress address;  // all zero behind the family's prefix (0.0.0.0, ::): every address of this host
  __u16 port;
  __u16 zero;
};

enum PathMode {
  PATH_NAT,   // both addresses change: works in any topology
  PATH_DNAT,  // only the destination: the backend sees the client, and its way back is through this host
  PATH_DSR,   // the packet is wrapped (IP in IP) and sent to the backend, which answers the client itself
};

enum PathAlgorithm { PATH_MAGLEV, PATH_TWO_CHOICES };

enum PathServiceFlags {
  PATH_HASH_PORT = 1,  // the key is address and port of the client, not its address alone
};

struct PathService {
  __u32 service;  // its table's place in `tables`
  __u32 slots;    // of its table
  __u8 mode;
  __u8 algorithm;
  __u8 flags;
  __u8 zero;
  __u32 idle_seconds;
  __u32 half_close_seconds;  // at most 65535
};

enum PathBackendFlags {
  PATH_BACKEND_RESET = 1,  // it is down, and the pool wants its flows reset
  PATH_BACKEND_MOVE = 2,   // it is down, and the pool wants its flows' next packets to meet another one
};

struct PathBackend {
  struct PathAddress address;
  struct PathAddress source;  // what PATH_NAT sends from
  __u16 port;
  __u16 weight;
  __u32 interface_index;  // where it is reached
  __u32 flags;
  __u32 pool;             // a hash of its pool's name: who takes these maps up tells one address in two pools apart; the program doesn't look
};

struct PathSettings {
  __u32 abi;
  __u32 half_open_seconds;
  __u32 closing_seconds;
  __u32 port_first[PATH_PORT_RANGES];  // host order
  __u32 port_count[PATH_PORT_RANGES];
};

// A packet's addresses as it comes in; the key of both directions of a flow.
struct PathFlowKey {
  struct PathAddress source;
  struct PathAddress destination;
  __u16 source_port;
  __u16 destination_port;
};

enum PathFlowFlags {
  PATH_TO_CLIENT = 1,   // the answers' direction
  PATH_ADOPTED = 2,     // met in the middle: no handshake was seen
  PATH_ANSWERED = 4,    // the backend has answered (to_backend only)
  PATH_COUNTED = 8,     // counted as one of its backend's active flows (to_backend only)
  PATH_FIN = 16,        // this direction's end was seen
  PATH_RST = 32,        // either side gave it up
};

// One direction. What the packets of the other one look like follows from it: source and destination, new for old, change places.
struct PathFlow {
  struct PathAddress new_source;
  struct PathAddress new_destination;
  __u16 new_source_port;
  __u16 new_destination_port;
  __u32 interface_index;  // where its packets leave
  __u32 backend;
  __u32 service;
  __u64 opened_ns;
  __u64 seen_ns;      // the last packet; coarse
  __u32 sequence;     // host order: of a half-open flow to the backend, what its handshake must acknowledge; else the highest byte seen
  __u32 idle_seconds;
  __u8 flags;         // PathFlowFlags
  __u8 mode;          // PathMode
  __u16 half_close_seconds;
};

// What the sweep is told, and what it found: the argument of path_sweep (BPF_PROG_TYPE_SYSCALL).
struct PathSweep {
  __u64 flows;      // out: what is left in both tables, however many entries a flow has
  __u64 half_open;  // out: of these
  __u64 ended;      // out: flows that were over, or idle for too long
};

// A backend's counts, one a processor; sums only grow.
struct PathCounts {
  __u64 tried;            // connections that were sent to it
  __u64 established;
  __u64 refused;          // a reset for an answer to the first packet
  __u64 syn_retransmits;
  __u64 retransmits;      // packets whose bytes had passed before, both ways
  __u64 resets;           // of established flows, by either side
  __u64 packets_in, bytes_in;    // from clients; bytes of IP packets
  __u64 packets_out, bytes_out;  // to clients
  __u64 rtt[PATH_RTT_BUCKETS];   // from the first packet to its answer
};

// Why a packet was treated as it was, over all; one counter each.
enum PathVerdict {
  PATH_FORWARDED,
  PATH_OPENED,          // a new flow
  PATH_ADOPTED_FLOW,    // one in the middle of which it came, sent where the table says
  PATH_NO_BACKEND,      // left to the proxy: the table is empty
  PATH_NO_PORT,         // left to the proxy: every port tried was in use
  PATH_TABLE_FULL,      // left to the proxy: no room for a flow
  PATH_LOCAL_SOCKET,    // the proxy has a socket for it
  PATH_UNKNOWN,         // no flow and no way to make one: left to the stack
  PATH_RESET_DOWN,      // answered by a reset: its backend is down
  PATH_TOO_BIG,         // answered by "packet too big"
  PATH_ICMP,            // an error message was translated
  PATH_FRAGMENT,        // a later fragment went after its first
  PATH_FRAGMENT_LOST,   // a later fragment whose flow has ended since its first: left to the stack, as are those without a first
  PATH_HOPS,            // its hop limit was spent
  PATH_MALFORMED,       // left to the stack: it doesn't parse
  PATH_VERDICTS,
};

USHER_ABI_ASSERT(sizeof(struct PathServiceKey) == 20, "keys have no holes");
USHER_ABI_ASSERT(sizeof(struct PathFlowKey) == 36, "keys have no holes");
USHER_ABI_ASSERT(sizeof(struct PathFlow) == 80, "one cache line and a bit");
USHER_ABI_ASSERT(sizeof(struct PathBackend) == 48, "as both sides compile it");

#undef USHER_ABI_ASSERT
