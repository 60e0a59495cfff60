// Options: the algorithms' names, as the configuration spells them.
#include "usher/policy/options.h"

namespace usher {

std::string_view name(Algorithm algorithm) noexcept {
  switch (algorithm) {
    case Algorithm::round_robin:
      return "round_robin";
    case Algorithm::random:
      return "random";
    case Algorithm::two_choices:
      return "two_choices";
    case Algorithm::least_connections:
      return "least_connections";
    case Algorithm::least_latency:
      return "least_latency";
    case Algorithm::source_hash:
      return "source_hash";
    case Algorithm::maglev:
      return "maglev";
  }
  return "unknown";
}

}  // namespace usher
