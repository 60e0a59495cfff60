// Network: what the kernel says of this host's interfaces, addresses and routes (rtnetlink(7)).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"

namespace usher {

struct Interface {
  std::uint32_t index = 0;
  std::string name;
  bool up = false;
  bool loopback = false;
  bool ethernet = false;  ///< packets have an Ethernet header there

  friend bool operator==(const Interface&, const Interface&) = default;
};

struct Route {
  std::uint32_t interface_index = 0;
  Endpoint source;     ///< which of this host's addresses packets get; its port is 0
  bool local = false;  ///< the address is one of this host's own
};

/// Each call asks the kernel anew, by a socket of its own. Errors: a refused socket, or what the kernel answered.
Result<std::vector<Interface>> list_interfaces();
/// Every address of this host but link-local ones; ports are 0.
Result<std::vector<Endpoint>> list_addresses();
/// The way that a packet to `address` takes now. An error where there is none ("Network is unreachable").
Result<Route> find_route(const Endpoint& address);

}  // namespace usher
