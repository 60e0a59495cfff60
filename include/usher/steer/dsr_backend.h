// DsrBackend: direct server return's other end on a Linux backend, an eBPF program that unwraps what balancers wrapped.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"
#include "usher/steer/dsr_abi.h"

namespace usher {

/// The program on one interface; destroying it takes the program off again, and so does the end of the process, however it comes. Not thread
/// safe. See bpf/dsr_backend.bpf.c; tcx links are Linux 6.6's (kernel/bpf/tcx.c).
class DsrBackend {
 public:
  virtual ~DsrBackend() = default;

  /// Packets since it was attached, by DsrVerdict.
  [[nodiscard]] virtual std::array<std::uint64_t, DSR_VERDICTS> counts() = 0;
};

/// From here on IP-in-IP packets that come in at `interface` lose their outer header where the inner destination is one of `addresses` (their
/// ports aren't used). REQUIRES: 1 to DSR_ADDRESSES_MAX addresses. The error names what is missing: the interface, Ethernet, privilege.
Result<std::unique_ptr<DsrBackend>> attach_dsr_backend(const std::string& interface, std::span<const Endpoint> addresses);

}  // namespace usher
