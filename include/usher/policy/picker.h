// Picker: from a backend list and the board to an order of candidates for one connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/rng.h"
#include "usher/policy/backend.h"
#include "usher/policy/board.h"
#include "usher/policy/options.h"

namespace usher {

/// Built once from a pool's list, then only asked; shared by all workers (pick is const and thread safe; what moves inside,
/// such as round_robin's position or least_connections' order, sees to that). Allocates nothing and waits for nobody while
/// picking.
class Picker {
 public:
  virtual ~Picker() = default;
  Picker(const Picker&) = delete;
  Picker& operator=(const Picker&) = delete;

  /// Writes candidates, best first, as indexes into the list that the picker was made of; each at most once, and only those
  /// that may be used now: enabled, healthy (or the pool is in panic), below max_connections, weight above 0, of the lowest
  /// tier that has any. Returns how many were written: all there are when `order` has the room; 0 = no backend. `key` is the
  /// hash of what the pool keys on. The first eight are in the algorithm's order, further ones just follow.
  ///
  /// least_connections: whoever may be used had, at some moment of this call (each at its own), no fewer sessions by weight
  /// than the first has when it is looked at (loads that differ by less than one part in 16 million are the same); a session
  /// is gone when Board::leave has returned. What other workers do behind those moments isn't seen. least_latency: the same of
  /// its scores, which age by steps of a tenth of a second: to the step that `now` is in, or to a later one that a caller before
  /// has come to. `now` is Clock's, as of the caller's own turn: it isn't read here, which would be a good part of a pick's price.
  ///
  /// Panic is a tier's own: its share of healthy among enabled backends (of weight above 0) is below panic_threshold,
  /// strictly. A tier with no healthy backend serves only when no tier with a healthy one can, and only in panic.
  virtual std::size_t pick(std::uint64_t key, TimePoint now, Rng& rng, std::span<std::uint32_t> order) const noexcept = 0;

 protected:
  Picker() = default;
};

/// `board` must outlive the picker. An empty list is fine: pick answers 0. REQUIRES: every id is below backend_count_max, ids
/// and names are unique. source_hash and maglev depend on names and weights only: the order of the list doesn't matter to them.
std::unique_ptr<const Picker> make_picker(const PickerOptions& options, std::span<const Backend> backends, const Board& board);

}  // namespace usher
