// LoadRun: a run of the load generator on threads of its own, to be watched and stopped from outside.
#pragma once

#include <memory>
#include <optional>

#include "usher/base/clock.h"
#include "usher/base/error.h"
#include "usher/load/plan.h"
#include "usher/load/report.h"

namespace usher::load {

/// A resource. Its methods are for one thread, the one that started it. A run always ends: warm-up plus duration bound
/// it.
class LoadRun {
 public:
  /// REQUIRES plan.threads >= 1, plan.connections >= plan.threads, plan.target set; in echo and connect mode
  /// request_bytes >= answer_head_bytes, in connect mode requests_per_connection = 1. The error is what the kernel
  /// lacks (no io_uring, no threads).
  static Result<std::unique_ptr<LoadRun>> start(LoadPlan plan);
  virtual ~LoadRun() = default;  ///< stops it, and joins

  /// Whether it is over; waits `patience` at most.
  virtual bool wait(Duration patience) = 0;
  /// Ends it early; it still reports.
  virtual void stop() = 0;
  [[nodiscard]] virtual LoadProgress progress() const = 0;
  /// Latencies since the last call that got any; nothing where a thread hasn't handed its own over yet (it takes up to
  /// 100 ms).
  virtual std::optional<Histogram> recent() = 0;
  /// Waits for the end. Once.
  virtual Result<RunReport> finish() = 0;
};

}  // namespace usher::load
