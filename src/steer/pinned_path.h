// What of the kernel datapath's maps is pinned: taken up where it fits, replaced where it doesn't.
#pragma once

#include <bpf/libbpf.h>

#include "steer/path_pins.h"
#include "usher/base/error.h"

namespace usher {

enum class Found { nothing, fitting, foreign };

/// Before loading: gives the object's maps what is pinned of them, all of it or nothing. `foreign`: something is pinned, but of another ABI or
/// shape, or not whole, as a start that was cut short leaves it. The tables of flows may be of another size than is asked for.
Result<Found> take_up_maps(bpf_object& object, const PathPins& pins);
/// After loading: pins the maps in place of whatever is pinned.
Result<void> pin_maps(bpf_object& object, const PathPins& pins);

}  // namespace usher
