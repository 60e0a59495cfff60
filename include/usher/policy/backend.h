// Backend: one server of a pool, as pickers and discovery see it.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "usher/base/endpoint.h"

namespace usher {

/// A dense number for a backend, stable across reloads for as long as its pool, name and address stay the same. It indexes
/// the Board and the counters.
struct BackendId {
  std::uint32_t value = ~std::uint32_t{0};
  friend auto operator<=>(const BackendId&, const BackendId&) = default;
};

/// Most backends that one usher can hold, removed ones with live sessions included.
inline constexpr std::uint32_t backend_count_max = 16384;
inline constexpr std::uint32_t backend_weight_max = 65535;

/// A value. Names are unique within a pool.
struct Backend {
  BackendId id;
  std::string name;
  Endpoint address;
  std::uint32_t weight = 100;         ///< 0 = gets nothing new
  std::uint32_t max_connections = 0;  ///< 0 = no limit
  std::uint32_t tier = 0;             ///< a higher tier serves only while no lower one is ready

  friend bool operator==(const Backend&, const Backend&) = default;
};

}  // namespace usher
