// Decides between eBPF and the null object, and keeps the reason.
#include "usher/steer/steering.h"

#include <fmt/format.h>

#include <utility>

#include "steer/ebpf_steering.h"
#include "usher/steer/abi.h"

namespace usher {

#ifndef USHER_HAVE_BPF
Result<std::unique_ptr<Steering>> load_ebpf_steering(std::uint32_t) { return fail("built without eBPF"); }
#endif

std::unique_ptr<Steering> make_steering(std::uint32_t workers) {
  if (workers < 2) return make_null_steering(workers, "a single worker has nobody to share with");
  if (workers > STEER_WORKERS_MAX) {
    return make_null_steering(
        workers, fmt::format("{} workers, and eBPF steers at most {}", workers, static_cast<int>(STEER_WORKERS_MAX)));
  }
  auto steering = load_ebpf_steering(workers);
  if (!steering) return make_null_steering(workers, std::move(steering.error().message));
  return std::move(*steering);
}

}  // namespace usher
