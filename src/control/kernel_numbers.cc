// KernelNumbers: numbers are kept for who had them, for as long as others are left.
#include "control/kernel_numbers.h"

#include <algorithm>

#include "usher/base/hash.h"

namespace usher {

std::uint32_t pool_tag(std::string_view pool) { return static_cast<std::uint32_t>(hash_text(pool) >> 32); }

void KernelNumbers::remember(std::uint32_t number, std::uint32_t pool, const Endpoint& address) {
  const Who who{pool, address.text()};
  // Twice the same, or a number beyond this build's: a file system that others may write to is not to be trusted blindly.
  if (number >= count_ || known_.contains(who) || holders_.contains(number)) return;
  known_.emplace(who, number);
  holders_.emplace(number, who);
  released_.push_back(number);
}

std::optional<KernelNumbers::Given> KernelNumbers::give(std::uint32_t pool, const Endpoint& address,
                                                        const std::function<bool(std::uint32_t)>& has_no_flows) {
  Who who{pool, address.text()};
  if (const auto known = known_.find(who); known != known_.end()) {
    std::erase(released_, known->second);
    return Given{.number = known->second, .fresh = false};
  }
  // The first gap: a number that was never given can stand in no table.
  std::uint32_t number = 0;
  for (const auto& [taken, holder] : holders_) {
    if (taken != number) break;
    ++number;
  }
  if (number == count_) {
    const auto idle = std::ranges::find_if(released_, has_no_flows);
    if (idle == released_.end()) return std::nullopt;
    number = *idle;
    released_.erase(idle);
    known_.erase(holders_.at(number));
  }
  known_.emplace(who, number);
  holders_.insert_or_assign(number, std::move(who));
  return Given{.number = number, .fresh = true};
}

void KernelNumbers::keep_only(const std::set<std::uint32_t>& numbers) {
  for (const auto& [number, who] : holders_) {
    if (!numbers.contains(number) && std::ranges::find(released_, number) == released_.end()) released_.push_back(number);
  }
}

}  // namespace usher
