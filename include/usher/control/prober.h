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
  std::string reason;  ///< what the last check said, or why it could not be made; "" before the first
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
  std::uint64_t flips = 0;  ///< as the Judge counts: a first pass that brings a backend up is one
};

/// A thread of its own: non-blocking connects on epoll(7), every check bounded by its timeout from connect to the
/// answer's end. Thread safe. A tcp check ends with RST before the handshake's last ACK, so the backend's accept(2)
/// never sees it. A shortage of this machine (descriptors, ports, memory) is no result: the backend keeps its state,
/// the next interval tries again, and one warning is logged.
class Prober {
 public:
  /// A flip, or the first result of a backend (`first`, whatever it was; then flip.up is the state after it). Called
  /// from the prober's thread, in order, with no lock held: be quick, don't throw, don't destroy the prober in it.
  using OnVerdict = std::function<void(BackendId id, const std::string& label, const Flip& flip, bool first)>;

  virtual ~Prober() = default;  ///< stops and joins; checks under way are dropped without a verdict

  /// Replaces the list, at once: state() knows the new list when this returns. A target whose id and address are in
  /// both keeps its state and takes the new options; where they differ, a check under way starts anew. A target that
  /// left is checked no more, but a verdict that was on its way may still be told.
  virtual void set_targets(std::vector<ProbeTarget> targets) = 0;
  virtual std::optional<ProbeState> state(BackendId id) = 0;
};

Result<std::unique_ptr<Prober>> start_prober(Prober::OnVerdict on_verdict, std::uint64_t seed);

}  // namespace usher
