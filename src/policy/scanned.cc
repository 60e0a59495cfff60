// least_connections and least_latency: a look at every backend, the lowest score wins.
#include <array>

#include "policy/peak_ewma.h"
#include "policy/tier.h"
#include "usher/base/hash.h"

namespace usher {
namespace {

/// `score(cell, weight)` is a double, lower is better. Equals are ordered at random, so that workers that look at the
/// same moment don't all run to the same backend.
template <typename MakeScore>
class Scanned final : public Tier {
 public:
  using Tier::Tier;

  void pick(const Gate& gate, std::uint64_t, Rng& rng, Order& order) const noexcept override {
    const auto score = MakeScore{}();
    const std::size_t places = std::min(order.size(), ordered_count_max);
    const std::uint64_t salt = rng();
    std::array<Place, ordered_count_max> best;
    std::size_t held = 0;
    for (std::uint32_t position = 0; position < size(); ++position) {
      const Entry& entry = entries()[position];
      if (!gate.admits(entry)) continue;
      const double mine_score = score(gate.cell(entry), entry.weight);
      if (held == places && mine_score > best[held - 1].score) continue;
      const Place mine{mine_score, static_cast<std::uint32_t>(mix64(salt + position)), position};
      if (held == places && !before(mine, best[held - 1])) continue;
      std::size_t at = held < places ? held++ : held - 1;
      for (; at > 0 && before(mine, best[at - 1]); --at) best[at] = best[at - 1];
      best[at] = mine;
    }
    for (std::size_t at = 0; at < held; ++at) order.add(best[at].position);
    if (held == ordered_count_max) add_rest(gate, static_cast<std::uint32_t>(rng.below(size())), order);
  }

 private:
  struct Place {
    double score;
    std::uint32_t lot;
    std::uint32_t position;
  };
  static bool before(const Place& a, const Place& b) noexcept {
    return a.score < b.score || (a.score == b.score && a.lot < b.lot);
  }
};

inline double load(const BackendCell& cell, std::uint32_t weight) noexcept {
  // The quotient of two integers is rounded correctly, so equal loads of different weights come out as equals.
  return (static_cast<double>(cell.active.load(std::memory_order_relaxed)) + 1.0) / static_cast<double>(weight);
}

struct ConnectionsScore {
  auto operator()() const noexcept {
    return [](const BackendCell& cell, std::uint32_t weight) noexcept { return load(cell, weight); };
  }
};

/// Peak-EWMA's cost, after Finagle's com.twitter.finagle.loadbalancer.PeakEwma: latency x (active + 1). Nothing known
/// and nobody there: tried first. Nothing known but somebody is finding out: last, so that an unknown is not stampeded.
struct LatencyScore {
  auto operator()() const noexcept {
    return [now_ns = Clock::now().time_since_epoch().count()](const BackendCell& cell, std::uint32_t weight) noexcept {
      const std::uint64_t latency_ns = cell.latency_ns.load(std::memory_order_relaxed);
      if (latency_ns == 0) {
        return cell.active.load(std::memory_order_relaxed) == 0 ? 0.0 : unknown_and_busy_ns * load(cell, weight);
      }
      const Duration age{now_ns - cell.latency_at_ns.load(std::memory_order_relaxed)};
      const double left_ns = static_cast<double>(latency_ns) * peak_ewma_left(age);
      return std::max(left_ns, 1.0) * load(cell, weight);  // from 1 ns on, what is forgotten is shared by load alone
    };
  }
  static constexpr double unknown_and_busy_ns = 1e18;  // thirty years: behind whatever was measured
};

}  // namespace

std::unique_ptr<const Tier> make_least_connections(std::span<const Seat> members) {
  return std::make_unique<const Scanned<ConnectionsScore>>(members);
}
std::unique_ptr<const Tier> make_least_latency(std::span<const Seat> members) {
  return std::make_unique<const Scanned<LatencyScore>>(members);
}

}  // namespace usher
