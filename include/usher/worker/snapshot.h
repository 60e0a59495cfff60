// Snapshot: the world as workers see it. Built whole by control, const for ever, swapped once.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/fd.h"
#include "usher/policy/backend.h"
#include "usher/policy/options.h"
#include "usher/policy/picker.h"

namespace usher {

/// One bound address: a listening socket for each worker (SO_REUSEPORT). Worker i, and only it, closes sockets[i] when the
/// listener has left the snapshot and the socket's queue is empty.
struct ListenGroup {
  Endpoint address;
  std::vector<Fd> sockets;          ///< by worker
  std::shared_ptr<void> steering;   ///< control's handles on the group's eBPF program; nobody else touches it
};

enum class SendProxy : std::uint8_t { off, v1, v2 };

/// A pool, ready to pick and dial. Most candidates a session may try:
inline constexpr std::uint32_t connect_attempts_max = 16;
struct PoolPlan {
  std::string name;
  std::vector<Backend> backends;  ///< what the picker's indexes point into
  std::unique_ptr<const Picker> picker;
  HashKey hash_key = HashKey::source;
  bool keyed = false;  ///< the picker looks at the key
  SendProxy send_proxy = SendProxy::off;
  std::optional<Endpoint> bind_source;
  std::uint32_t connect_timeout_ms = 3000;
  std::uint32_t connect_attempts = 3;  ///< 1 .. connect_attempts_max
  std::uint32_t idle_timeout_ms = 600000;  ///< 0 = none
  std::uint32_t half_close_timeout_ms = 60000;
  std::uint32_t lifetime_ms = 0;
};

struct ListenerPlan {
  std::uint32_t id = 0;  ///< < listener_count_max
  std::string name;
  std::vector<std::shared_ptr<ListenGroup>> groups;
  std::shared_ptr<const PoolPlan> pool;
  std::uint32_t max_connections = 0;
  bool accept_proxy = false;
  std::vector<Cidr> trusted_proxies;
  std::vector<Cidr> allow;
  std::vector<Cidr> deny;
};

struct Snapshot {
  std::uint64_t generation = 0;
  std::vector<std::shared_ptr<const ListenerPlan>> listeners;
};

}  // namespace usher
