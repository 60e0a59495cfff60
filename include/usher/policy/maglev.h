// The Maglev table as a plain list, for who picks elsewhere: the kernel datapath.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "usher/policy/backend.h"

namespace usher {

/// For each slot the place of its backend in `backends`; as the maglev algorithm lays it out (D. E. Eisenbud et al., NSDI 2016, 3.4), but for
/// those that `may_serve` denies: their slots go to the others, and nobody else's slot moves. Empty where nobody may serve. The order of
/// `backends` doesn't matter to who gets what; weight 0 gets nothing. `size` is taken up to the next prime.
/// REQUIRES: may_serve.size() == backends.size().
std::vector<std::uint32_t> maglev_slots(std::span<const Backend> backends, const std::vector<bool>& may_serve, std::uint32_t size);

}  // namespace usher
