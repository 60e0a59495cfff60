// Judge: rise and fall, and the pace of the checks.
#include "usher/health/judge.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace usher {
namespace {

std::string in_a_row(std::uint32_t count, std::string_view verb, const std::string& why) {
  const std::string what =
      count == 1 ? fmt::format("a check {}", verb) : fmt::format("{} checks {} in a row", count, verb);
  return why.empty() ? what : fmt::format("{}: {}", what, why);
}

}  // namespace

std::string timed_out(Duration timeout, std::string_view doing) {
  const auto count = timeout.count();
  if (count % 1'000'000'000 == 0) return fmt::format("timed out after {}s {}", count / 1'000'000'000, doing);
  if (count % 1'000'000 == 0) return fmt::format("timed out after {}ms {}", count / 1'000'000, doing);
  if (count % 1'000 == 0) return fmt::format("timed out after {}us {}", count / 1'000, doing);
  return fmt::format("timed out after {}ns {}", count, doing);
}

Judge::Judge(const HealthOptions& options, bool starts_up) : options_(options), up_(starts_up) {}

std::optional<Flip> Judge::observe(const CheckResult& result) {
  const bool first = !judged_;
  judged_ = true;
  last_reason_ = result.reason;
  if (result.passed == up_) {
    streak_ = 0;
    return std::nullopt;
  }
  ++streak_;
  // A backend that nobody knows yet has no bad record to live down: one pass is enough.
  const std::uint32_t wanted = up_ ? options_.fall : (first ? 1 : options_.rise);
  if (streak_ < std::max(wanted, std::uint32_t{1})) return std::nullopt;
  const std::uint32_t run = std::exchange(streak_, 0);
  up_ = result.passed;
  return Flip{up_, in_a_row(run, up_ ? "passed" : "failed", result.reason)};
}

Duration Judge::next_in(Rng& rng) const {
  const Duration base = std::max(streak_ > 0 ? options_.fast_interval : options_.interval, Duration{0});
  const auto tenth = static_cast<std::uint64_t>(base.count()) / 10;
  return base - Duration(tenth) + Duration(rng.below(2 * tenth + 1));
}

Duration Judge::first_in(Rng& rng) const {
  return Duration(rng.below(static_cast<std::uint64_t>(std::max(options_.fast_interval, Duration{0}).count())));
}

void Judge::adopt(const HealthOptions& options) { options_ = options; }

}  // namespace usher
