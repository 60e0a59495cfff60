// Config: what a usher.toml says, typed and validated. Built whole, then never changed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"
#include "usher/base/log.h"
#include "usher/base/mover.h"
#include "usher/config/diagnostic.h"
#include "usher/health/options.h"
#include "usher/policy/options.h"

namespace usher {

enum class ProxyProtocol { off, v1, v2 };
enum class Datapath { proxy, kernel, automatic };
enum class Forwarding { nat, dnat, dsr };
/// What a backend's connections get when it goes down. `move` is the kernel datapath's: the flow's next packet goes to another backend.
enum class OnDown { keep, reset, move };

struct GlobalConfig {
  std::uint32_t workers = 0;  ///< 0 = auto: the cores that this process may use
  std::uint32_t max_connections = 100000;
  Duration drain_timeout = std::chrono::seconds(30);
  std::string user;
  LogLevel log_level = LogLevel::info;
  LogFormat log_format = LogFormat::text;
  Mover mover = Mover::worker;
  friend bool operator==(const GlobalConfig&, const GlobalConfig&) = default;
};

struct AdminConfig {
  std::string socket = "/run/usher/admin.sock";
  std::string http = "127.0.0.1:9900";  ///< "" = off
  std::string token;
  friend bool operator==(const AdminConfig&, const AdminConfig&) = default;
};

struct KeepaliveConfig {
  Duration idle = std::chrono::seconds(60);
  Duration interval = std::chrono::seconds(10);
  std::uint32_t count = 6;
  friend bool operator==(const KeepaliveConfig&, const KeepaliveConfig&) = default;
};

struct ListenerConfig {
  std::string name;
  std::vector<Endpoint> bind;
  std::string pool;
  Datapath datapath = Datapath::proxy;
  Forwarding kernel_mode = Forwarding::nat;
  std::vector<std::string> interfaces;  ///< of the kernel datapath; empty = every one that fits
  std::uint32_t max_connections = 0;  ///< 0 = no limit of its own
  bool accept_proxy_protocol = false;
  std::vector<Cidr> trusted_proxies;  ///< who may send it; empty = anyone
  std::vector<Cidr> allow;            ///< empty = everyone
  std::vector<Cidr> deny;             ///< wins over allow
  std::uint32_t backlog = 4096;
  bool tcp_fast_open = false;
  KeepaliveConfig keepalive;
  friend bool operator==(const ListenerConfig&, const ListenerConfig&) = default;
};

struct BackendConfig {
  std::string name;
  Endpoint address;
  std::uint32_t weight = 100;
  std::uint32_t max_connections = 0;
  std::uint32_t tier = 0;
  friend bool operator==(const BackendConfig&, const BackendConfig&) = default;
};

struct PoolConfig {
  std::string name;
  PickerOptions picker;
  ProxyProtocol send_proxy_protocol = ProxyProtocol::off;
  std::optional<Endpoint> bind_source;  ///< port 0
  Duration connect_timeout = std::chrono::seconds(3);
  std::uint32_t connect_attempts = 3;
  Duration idle_timeout = std::chrono::minutes(10);
  Duration half_close_timeout = std::chrono::minutes(1);
  Duration max_lifetime = Duration::zero();  ///< 0 = none
  OnDown on_down = OnDown::keep;
  bool initially_up = false;                 ///< initial = "up"
  HealthOptions health;
  std::vector<BackendConfig> backends;
  friend bool operator==(const PoolConfig&, const PoolConfig&) = default;
};

struct Config {
  GlobalConfig global;
  AdminConfig admin;
  std::vector<ListenerConfig> listeners;
  std::vector<PoolConfig> pools;
  friend bool operator==(const Config&, const Config&) = default;
};

/// Either a config, or problems (at least one error); warnings may stand beside a config.
struct Parsed {
  std::optional<Config> config;
  std::vector<Diagnostic> problems;  ///< in the order of the file
};

/// Every problem of the text is found in one pass. Thread safe, touches nothing but its arguments. `file` is only for the messages.
Parsed parse_config(std::string_view text, std::string_view file);
/// Reads `path` first; a file that can't be read is one diagnostic at 0:0.
Parsed load_config(const std::string& path);
/// What of these two the kernel datapath can't do, in words that follow "the kernel datapath can't serve it: "; none: it can. What depends on
/// this host (routes, privileges, the kernel) isn't looked at. Pure.
std::optional<std::string> why_not_kernel(const ListenerConfig& listener, const PoolConfig& pool);
/// Every key that a file may have, those that aren't supported yet included: "global.workers", "pool.health.type".
std::vector<std::string> config_keys();

}  // namespace usher
