// What of the kernel datapath is pinned: maps that are taken up where they fit, and links whose program is replaced in place.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <map>
#include <memory>

#include "steer/path_pins.h"
#include "usher/base/error.h"

namespace usher {

struct CloseLink {
  void operator()(bpf_link* link) const noexcept { bpf_link__destroy(link); }
};
/// Closing it detaches, unless it is pinned.
using Link = std::unique_ptr<bpf_link, CloseLink>;

enum class Found { nothing, fitting, foreign };

/// Before loading: gives the object's maps what is pinned of them, all of it or nothing. `foreign`: something is pinned, but of another ABI or
/// shape, or not whole, as a start that was cut short leaves it. The tables of flows may be of another size than is asked for.
Result<Found> take_up_maps(bpf_object& object, const PathPins& pins);
/// After loading: pins the maps in place of whatever is pinned.
Result<void> pin_maps(bpf_object& object, const PathPins& pins);
/// The links pinned there that still hold an interface of this network namespace, by its index; the others are unpinned.
std::map<std::uint32_t, Link> take_up_links(const PathPins& pins);
/// The program on this link is `program` from here on; no packet misses one.
Result<void> replace_program(bpf_link& link, const bpf_program& program);

}  // namespace usher
