// ServeRun: backends to measure against, on threads of their own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/load/plan.h"

namespace usher::load {

struct ServeCounts {
  std::uint64_t accepted = 0;
  std::uint64_t open = 0;
  std::uint64_t requests = 0;  ///< http, answer
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t refused = 0;  ///< clients that spoke no such protocol
  std::uint64_t shed = 0;     ///< closed at once: no descriptor or slot was left
};

/// A resource; its methods are for the thread that started it. Every address has a listening socket on every thread
/// (SO_REUSEPORT).
class ServeRun {
 public:
  /// REQUIRES plan.threads >= 1 and at least one address. The error names the address that can't be listened on.
  static Result<std::unique_ptr<ServeRun>> start(ServePlan plan);
  virtual ~ServeRun() = default;  ///< closes everything

  /// What is listened on, with the port that the kernel chose where 0 was asked for.
  [[nodiscard]] virtual const std::vector<Endpoint>& addresses() const = 0;
  /// At most 100 ms old; the last word after stop().
  [[nodiscard]] virtual ServeCounts counts() const = 0;
  /// Closes everything, and joins.
  virtual void stop() = 0;
  /// Where a thread has ended, why.
  [[nodiscard]] virtual Result<void> health() const = 0;
};

}  // namespace usher::load
