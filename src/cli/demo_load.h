// DemoLoad: the demo's own clients, about 50 short connections a second and a few long ones.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"
#include "usher/load/histogram.h"

namespace usher::cli {

/// What the load has seen; a value.
struct LoadReport {
  std::uint64_t requests = 0;  ///< answered or failed
  std::uint64_t errors = 0;    ///< failed: a short one as it is, a long one where a new connection did not help either
  std::uint64_t reconnects = 0;  ///< long connections that ended under their client, which went on with a new one
  std::map<std::string, std::uint64_t> by_backend;  ///< answers by the name in them: at most `names_max`
  std::string last_error;
  load::CoarseHistogram latency;  ///< of what was answered, a short one's connect included

  static constexpr std::size_t names_max = 16;
};

/// A resource with five threads: four pace the short connections, one asks through the long ones in turn. Every wait
/// ends with the destructor. report() is thread safe.
class DemoLoad {
 public:
  static constexpr unsigned short_per_second = 50;
  static constexpr unsigned long_connections = 8;

  static Result<std::unique_ptr<DemoLoad>> start(const Endpoint& server);
  DemoLoad(const DemoLoad&) = delete;
  DemoLoad& operator=(const DemoLoad&) = delete;
  ~DemoLoad() { stop(); }

  /// What is under way is given up and not counted. Idempotent; from the owner's thread only.
  void stop();
  [[nodiscard]] LoadReport report() const;

 private:
  DemoLoad(const Endpoint& server, Fd stop_event) : server_(server), stop_event_(std::move(stop_event)) {}
  void send_short(unsigned thread);
  void send_long();
  bool pause_until(TimePoint at) const;
  void note(const Result<std::string>& answer, Duration took);
  void note_reconnect();

  Endpoint server_;
  Fd stop_event_;
  mutable std::mutex mutex_;
  LoadReport report_;  // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace usher::cli
