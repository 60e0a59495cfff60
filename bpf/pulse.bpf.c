// The pulse: counts how the connections that usher's workers dial fare, per backend, in the kernel, where each packet is known.
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// BPF_PROG_TYPE_SOCK_OPS on the cgroup that usher runs in. The kernel asks it about every TCP socket of that cgroup at a few moments, and
// for all that isn't ours the answer is one comparison. Ours is a socket whose connect(2) a worker's thread calls towards an address that a
// backend has: only that moment is in the dialling thread. From then on the socket carries its own note (BPF_MAP_TYPE_SK_STORAGE).
//
// It changes nothing about a connection: it sets no option and writes no reply. None means "as you would"; and it would lie over the arguments,
// which the next program of this cgroup, another usher's for one, has yet to read.
// The helpers need the kernel's types, and don't include them: this order.
// clang-format off
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
// clang-format on

#include "bpf/rtt_bucket.bpf.h"
#include "usher/steer/path_abi.h"

#define ALWAYS_INLINE static __always_inline

enum {
  FAMILY_IPV4 = 2,    // AF_INET
  FAMILY_IPV6 = 10,   // AF_INET6
  REFUSED = 111,      // ECONNREFUSED: tcp_reset() gives it to a socket in SYN_SENT, and ICMP "port unreachable" too
  BROKEN_PIPE = 32,   // EPIPE: a reset met a socket in CLOSE_WAIT
  RESET = 104,        // ECONNRESET: a reset met a socket in any other state
  WORKERS_MAX = 1024,
};

// How often a socket that lives long tells what it has moved so far.
#define TELL_NS 1000000000ULL

// The pid namespace that the workers' thread ids are of: stat(2) of /proc/self/ns/pid. Set before loading.
const volatile __u64 namespace_device = 0;
const volatile __u64 namespace_inode = 0;

// What is read of the kernel's own socket; offsets are found when the program is loaded (CO-RE).
struct sock_common {
  unsigned long skc_flags;
} __attribute__((preserve_access_index));
struct sock {
  struct sock_common __sk_common;
  int sk_err;
} __attribute__((preserve_access_index));
struct inet_sock {
  struct sock sk;
} __attribute__((preserve_access_index));
struct inet_connection_sock {
  struct inet_sock icsk_inet;
} __attribute__((preserve_access_index));
struct tcp_sock {
  struct inet_connection_sock inet_conn;
  __u64 bytes_sent;
  __u64 bytes_retrans;
  __u64 bytes_received;
  __u32 segs_in;
  __u32 segs_out;
} __attribute__((preserve_access_index));
enum sock_flags { SOCK_DONE = 1 };  // set where the other side's FIN is met (tcp_fin)

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, WORKERS_MAX);
  __type(key, __u32);
  __type(value, __u32);
} pulse_workers SEC(".maps");

// A backend's address -> its number.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, PATH_BACKENDS_MAX);
  __type(key, struct PathServiceKey);
  __type(value, __u32);
} pulse_backends SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, PATH_BACKENDS_MAX);
  __type(key, __u32);
  __type(value, struct PathCounts);
} pulse_counts SEC(".maps");

// What a socket of ours has told so far.
struct Told {
  __u32 backend;
  __u32 segs_in, segs_out;
  __u32 zero;
  __u64 dialled_ns;
  __u64 told_ns;
  __u64 bytes_in, bytes_out;  // as PathCounts has it: in is towards the backend
};

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct Told);
} pulse_sockets SEC(".maps");

/// Adds to one of a backend's counts. Per CPU, and yet atomic: a callback in the dialling thread may be interrupted by one in a softirq.
#define ADD(counts, field, number) __sync_fetch_and_add(&(counts)->field, (number))

ALWAYS_INLINE struct PathCounts* counts_of(__u32 backend) { return bpf_map_lookup_elem(&pulse_counts, &backend); }

ALWAYS_INLINE bool is_worker(void) {
  struct bpf_pidns_info thread = {};
  if (bpf_get_ns_current_pid_tgid(namespace_device, namespace_inode, &thread, sizeof thread) != 0) return false;
  __u32 id = thread.pid;
  return bpf_map_lookup_elem(&pulse_workers, &id) != 0;
}

/// Keeps the compiler from reading "one of two fields" by a pointer to either, which the verifier doesn't take.
#define READ_HERE(value) asm volatile("" : "+r"(value))

ALWAYS_INLINE __u32* backend_of(struct bpf_sock_ops* ops) {
  struct PathServiceKey key = {};
  if (ops->family == FAMILY_IPV4) {
    __u32 address = ops->remote_ip4;
    READ_HERE(address);
    key.address.words[2] = bpf_htonl(0xffff);
    key.address.words[3] = address;
  } else if (ops->family == FAMILY_IPV6) {
    __u32 last = ops->remote_ip6[3];
    READ_HERE(last);
    key.address.words[0] = ops->remote_ip6[0];
    key.address.words[1] = ops->remote_ip6[1];
    key.address.words[2] = ops->remote_ip6[2];
    key.address.words[3] = last;
  } else {
    return 0;
  }
  key.port = bpf_htons((__u16)bpf_ntohl(ops->remote_port));
  return bpf_map_lookup_elem(&pulse_backends, &key);
}

/// connect(2), before its SYN leaves.
ALWAYS_INLINE void on_dial(struct bpf_sock_ops* ops) {
  if (!is_worker()) return;
  __u32* backend = backend_of(ops);
  struct bpf_sock* socket = ops->sk;
  if (!backend || !socket) return;
  struct Told* told = bpf_sk_storage_get(&pulse_sockets, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);
  struct PathCounts* counts = counts_of(*backend);
  if (!told || !counts) return;
  told->backend = *backend;
  told->dialled_ns = bpf_ktime_get_ns();
  told->told_ns = told->dialled_ns;
  ADD(counts, tried, 1);
  bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG |
                                     BPF_SOCK_OPS_STATE_CB_FLAG);
}

/// Counts what the socket has moved since it told last. Bytes are the streams' own: no header, no SYN, no FIN, each byte once.
ALWAYS_INLINE void tell(const struct tcp_sock* tcp, struct Told* told, struct PathCounts* counts) {
  __u64 fin = tcp->inet_conn.icsk_inet.sk.__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
  __u64 in = tcp->bytes_sent - tcp->bytes_retrans;
  __u64 out = tcp->bytes_received - fin;  // the kernel counts the FIN as a byte
  __u32 segs_in = tcp->segs_in;
  __u32 segs_out = tcp->segs_out;
  if ((__s64)(in - told->bytes_in) > 0) {
    ADD(counts, bytes_in, in - told->bytes_in);
    told->bytes_in = in;
  }
  if ((__s64)(out - told->bytes_out) > 0) {
    ADD(counts, bytes_out, out - told->bytes_out);
    told->bytes_out = out;
  }
  ADD(counts, packets_in, (__u64)(__u32)(segs_out - told->segs_out));
  ADD(counts, packets_out, (__u64)(__u32)(segs_in - told->segs_in));
  told->segs_out = segs_out;
  told->segs_in = segs_in;
}

/// The socket's last state change. What ended it is in sk_err where the other side did, and in the state that it left where this side did:
/// a connection that both sides finish goes by FIN_WAIT2, CLOSING or LAST_ACK.
ALWAYS_INLINE void on_end(const struct tcp_sock* tcp, __u32 left, struct PathCounts* counts) {
  int error = tcp->inet_conn.icsk_inet.sk.sk_err;
  if (left == BPF_TCP_SYN_SENT) {
    if (error == REFUSED) ADD(counts, refused, 1);
    return;
  }
  bool unfinished = left == BPF_TCP_ESTABLISHED || left == BPF_TCP_CLOSE_WAIT || left == BPF_TCP_FIN_WAIT1;
  if (error == RESET || error == BROKEN_PIPE || (error == 0 && unfinished)) ADD(counts, resets, 1);
}

/// Something about a socket of ours.
ALWAYS_INLINE void on_news(struct bpf_sock_ops* ops) {
  bool ends = ops->op == BPF_SOCK_OPS_STATE_CB;
  if (ends && ops->args[1] != BPF_TCP_CLOSE) return;
  struct bpf_sock* socket = ops->sk;
  if (!socket) return;
  struct Told* told = bpf_sk_storage_get(&pulse_sockets, socket, 0, 0);
  if (!told) return;
  if (ops->op == BPF_SOCK_OPS_RTT_CB) {  // with most acknowledgments: nearly always over here
    __u64 now = bpf_ktime_get_coarse_ns();
    if ((__s64)(now - told->told_ns) < (__s64)TELL_NS) return;
    told->told_ns = now;
  }
  struct PathCounts* counts = counts_of(told->backend);
  if (!counts) return;
  if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
    __u32 bucket = bucket_of(bpf_ktime_get_ns() - told->dialled_ns);
    ADD(counts, established, 1);
    if (bucket < PATH_RTT_BUCKETS) ADD(counts, rtt[bucket], 1);
    return;
  }
  if (ops->op == BPF_SOCK_OPS_RETRANS_CB) {
    if (ops->state == BPF_TCP_SYN_SENT) {
      ADD(counts, syn_retransmits, 1);
    } else {
      ADD(counts, retransmits, (__u64)ops->args[1]);
    }
    return;
  }
  struct tcp_sock* tcp = bpf_skc_to_tcp_sock(socket);
  if (!tcp) return;
  tell(tcp, told, counts);
  if (ends) on_end(tcp, ops->args[0], counts);
}

SEC("sockops")
int pulse(struct bpf_sock_ops* ops) {
  __u32 op = ops->op;
  if (op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
    on_dial(ops);
  } else if (op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || op == BPF_SOCK_OPS_RETRANS_CB || op == BPF_SOCK_OPS_RTT_CB ||
             op == BPF_SOCK_OPS_STATE_CB) {
    on_news(ops);
  }
  return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
