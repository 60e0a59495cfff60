// Prober: checks every backend at its own pace, in one thread, and tells when a verdict changes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/health/judge.h"
#include "usher/health/options.h"
#include "usher/policy/backend.h"

namespace usher {

/// One backend to check. `address` already carries the port that is to be checked.
struct ProbeTarget {
  BackendId id;
  std::string label;  ///< "POOL/NAME", for messages
  Endpoint address;
  HealthOptions options;  ///< type none: not checked, and not to be passed here
  bool starts_up = false;
};

struct ProbeState {
  bool up = false;
  bool judged = false;
  std::string reason;  ///< what the last check said; "" before the first
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
  std::uint64_t flips = 0;
};

/// A thread of its own: non-blocking connects on epoll(7), every wait bounded by the check's timeout. Thread safe.
class Prober {
 public:
  /// A flip, or the first verdict of a backend (`first`). Called from the prober's thread: be quick, don't call back into it.
  using OnVerdict = std::function<void(BackendId id, const std::string& label, const Flip& flip, bool first)>;

  virtual ~Prober() = default;  ///< stops and joins; checks under way are dropped without a verdict

  /// Replaces the list. A target whose id and address are in both keeps its state, and takes the new options.
  virtual void set_targets(std::vector<ProbeTarget> targets) = 0;
  virtual std::optional<ProbeState> state(BackendId id) = 0;
};

Result<std::unique_ptr<Prober>> start_prober(Prober::OnVerdict on_verdict, std::uint64_t seed);

}  // namespace usher
