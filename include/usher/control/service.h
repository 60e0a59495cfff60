// Service: control's public face. What the admin API and the live view may see and ask for.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/error.h"
#include "usher/metrics/exposition.h"

namespace usher {

using WallTime = std::chrono::system_clock::time_point;

enum class Phase { starting, serving, draining };
enum class Intent { enabled, drain, disabled };  ///< disabled also closes the sessions that the backend has
[[nodiscard]] std::string_view name(Phase phase) noexcept;
[[nodiscard]] std::string_view name(Intent intent) noexcept;

struct StatusReport {
  std::string version;
  std::uint64_t pid = 0;
  Phase phase = Phase::starting;
  WallTime started;
  Duration uptime{};
  std::string config_file;
  std::optional<WallTime> reloaded;  ///< when a reload was last applied
  std::string last_reload_error;     ///< "" = the last one was applied
  std::uint32_t workers = 0;
  std::uint64_t connections_active = 0;
  std::uint64_t connections_accepted = 0;
  std::uint64_t connections_max = 0;
  std::uint64_t descriptors_open = 0;
  std::uint64_t descriptors_max = 0;
  std::string steering;              ///< "ebpf", or why not: "kernel hash: ..."
  std::string kernel_counters;       ///< of what workers dial: "ebpf", or why not: "not counted: ..."
  std::uint32_t listeners = 0;
  std::uint32_t pools = 0;
  std::uint32_t backends = 0;
  std::uint32_t backends_ready = 0;
};

struct ListenerReport {
  std::string name;
  std::vector<std::string> bind;
  std::string pool;
  std::string datapath;         ///< "proxy"
  std::string datapath_reason;  ///< why that one
  bool ready = false;           ///< its pool has a ready backend
  ListenerTotals totals;        ///< of what the proxy served
  /// Of what the kernel datapath served, beside them. Empty: it serves nothing, or its counts can't be told from another listener's.
  std::optional<KernelListenerTotals> kernel;
};

struct BackendReport {
  std::string pool;
  std::string name;
  std::string address;
  Intent intent = Intent::enabled;
  std::string health;         ///< "up", "down", "checking", "unchecked"
  std::string health_reason;  ///< what the last check said
  bool ready = false;
  std::uint32_t weight = 0;
  std::uint32_t tier = 0;
  std::uint32_t max_connections = 0;
  std::uint64_t active = 0;
  Duration connect_latency{};  ///< peak-EWMA; 0 = unknown
  std::optional<WallTime> since;  ///< of the present health
  bool removed = false;           ///< gone from the configuration; its last sessions go on
  BackendTotals totals;
};

struct ConnectionReport {
  std::uint32_t worker = 0;
  std::string listener;
  std::string pool;
  std::string backend;
  std::string client;
  std::string stage;  ///< "greeting", "dialing", "relaying", "closing"
  Duration age{};
  Duration idle{};
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
};

struct Event {
  std::uint64_t number = 0;  ///< counts up from 1
  WallTime at;
  std::string kind;     ///< "start", "reload", "flip", "intent", "weight", "shed", "drain", "warning"
  std::string subject;  ///< "POOL/BACKEND", a listener, or ""
  std::string message;  ///< a sentence
};

struct ReloadReport {
  bool applied = false;
  std::vector<std::string> changes;   ///< sentences: what was done
  std::vector<std::string> problems;  ///< diagnostics, where nothing was done
};

/// Thrown by what reports, where the control thread didn't answer in time or usher is ending: there is nothing true to say.
struct ServiceBusy : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Every call is thread safe, may block until the control thread has answered (bounded: 5 s, a reload 30 s; then ServiceBusy, or
/// an error where the call answers one), and changes either everything it says or nothing.
class Service {
 public:
  virtual ~Service() = default;

  virtual StatusReport status() = 0;
  virtual std::vector<ListenerReport> listeners() = 0;
  virtual std::vector<BackendReport> backends() = 0;
  /// At most `max`, oldest first within a worker.
  virtual std::vector<ConnectionReport> connections(std::size_t max) = 0;
  /// The newest `max`, oldest first.
  virtual std::vector<Event> events(std::size_t max) = 0;
  /// The text of the configuration that is in force.
  virtual std::string config_text() = 0;
  virtual Totals totals() = 0;

  virtual Result<void> set_intent(const std::string& pool, const std::string& backend, Intent intent) = 0;
  virtual Result<void> set_weight(const std::string& pool, const std::string& backend, std::uint32_t weight) = 0;
  virtual ReloadReport reload() = 0;

  /// False while it drains, or while a listener has no ready backend.
  virtual bool ready() = 0;
};

}  // namespace usher
