// KernelNumbers: which number a backend has in the kernel's tables, which outlive the daemon and its BackendIds.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usher/base/endpoint.h"

namespace usher {

/// A pool's name as 32 bits: the same in every run.
std::uint32_t pool_tag(std::string_view pool);

/// A backend is a pool and an address here: who is called so again has the number, and the flows, that it had. Pure.
class KernelNumbers {
 public:
  explicit KernelNumbers(std::uint32_t count) : count_(count) {}

  /// What an earlier daemon had given; nobody's until it is asked for.
  void remember(std::uint32_t number, std::uint32_t pool, const Endpoint& address);

  struct Given {
    std::uint32_t number = 0;
    bool fresh = false;  ///< it was nobody's, or somebody else's: what was counted under it is not this backend's
  };
  /// Its own, else one that nobody ever had, else the one that has been nobody's for longest and that `has_no_flows`; none: all are in use.
  std::optional<Given> give(std::uint32_t pool, const Endpoint& address, const std::function<bool(std::uint32_t)>& has_no_flows);
  /// The others are nobody's from here on, though remembered.
  void keep_only(const std::set<std::uint32_t>& numbers);

 private:
  using Who = std::pair<std::uint32_t, std::string>;  ///< pool and address

  std::uint32_t count_;
  std::map<Who, std::uint32_t> known_;
  std::map<std::uint32_t, Who> holders_;
  std::vector<std::uint32_t> released_;  ///< longest ago first
};

}  // namespace usher
