// Listening sockets: a SO_REUSEPORT group for each bound address, one socket a worker.
#pragma once

#include <cstdint>
#include <memory>

#include "usher/base/error.h"
#include "usher/config/config.h"
#include "usher/worker/snapshot.h"

namespace usher {

/// Whether this usher holds the same port at another address already: "0.0.0.0:80" may stand beside "127.0.0.1:80".
enum class PortHolder : std::uint8_t { nobody_known, this_usher };

/// Binds and listens; the error names the address and the cure. An address that another process listens on is refused,
/// even where SO_REUSEPORT would let the two share it. With `this_usher` that can't be told, and isn't asked.
Result<std::shared_ptr<ListenGroup>> open_group(const ListenerConfig& listener, const Endpoint& address, std::uint32_t workers,
                                                PortHolder holder = PortHolder::nobody_known);

/// Sets what may change while it listens: backlog, keepalive, fast open. Accepted sockets inherit them (tcp(7)).
void apply_options(const ListenGroup& group, const ListenerConfig& listener);

}  // namespace usher
