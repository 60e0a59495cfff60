// Addresses of the file: endpoints, lone IPs and blocks, with a hint for each usual slip.
#pragma once

#include <optional>
#include <vector>

#include "config/value.h"
#include "usher/base/endpoint.h"

namespace usher {

/// "IP:PORT" or "[IP6]:PORT", port 0 included.
std::optional<Endpoint> read_endpoint(const Value& value);
/// An IP without a port.
std::optional<Endpoint> read_ip(const Value& value);
/// What of a list of "IP/BITS" is well formed.
std::vector<Cidr> read_blocks(const Value& value);

}  // namespace usher
