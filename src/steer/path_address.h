// An Endpoint's address as the BPF programs know it.
#pragma once

#include <netinet/in.h>

#include <cstring>

#include "usher/base/endpoint.h"
#include "usher/steer/path_abi.h"

namespace usher {

/// Without the port; an IPv4 address is mapped.
inline PathAddress path_address(const Endpoint& endpoint) {
  PathAddress address{};
  const auto bytes = endpoint.address_bytes();
  if (bytes.size() == sizeof address) {
    std::memcpy(&address, bytes.data(), sizeof address);
  } else if (bytes.size() == sizeof address.words[3]) {
    address.words[2] = htonl(0xffff);
    std::memcpy(&address.words[3], bytes.data(), sizeof address.words[3]);
  }
  return address;
}

}  // namespace usher
