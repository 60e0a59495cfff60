// DsrBackend's user side: loads the program, tells it the addresses, and attaches it by a tcx link.
#include "usher/steer/dsr_backend.h"

#ifdef USHER_HAVE_BPF

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "dsr_backend.skel.h"
#include "steer/libbpf_log.h"
#include "steer/libbpf_options.h"
#include "steer/path_address.h"
#include "usher/base/fd.h"

namespace usher {
namespace {

struct CloseObject {
  void operator()(dsr_backend_bpf* object) const noexcept { dsr_backend_bpf::destroy(object); }
};
using Object = std::unique_ptr<dsr_backend_bpf, CloseObject>;

struct CloseLink {
  void operator()(bpf_link* link) const noexcept { bpf_link__destroy(link); }
};
using Link = std::unique_ptr<bpf_link, CloseLink>;

class EbpfDsrBackend final : public DsrBackend {
 public:
  EbpfDsrBackend(Object object, Link link, std::size_t cpus) : object_(std::move(object)), link_(std::move(link)), per_cpu_(cpus) {}

  std::array<std::uint64_t, DSR_VERDICTS> counts() override {
    std::array<std::uint64_t, DSR_VERDICTS> sums{};
    for (std::uint32_t verdict = 0; verdict < DSR_VERDICTS; ++verdict) {
      if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.dsr_verdicts), &verdict, per_cpu_.data()) != 0) continue;
      for (const std::uint64_t one : per_cpu_) sums[verdict] += one;
    }
    return sums;
  }

 private:
  Object object_;
  Link link_;
  std::vector<std::uint64_t> per_cpu_;
};

/// The index of an Ethernet interface; the program reads packets behind an Ethernet header.
Result<unsigned> ethernet_index(const std::string& interface) {
  const unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0) return fail(fmt::format("there is no interface '{}' here; see 'ip link'", interface));
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_system("opening a socket refused");
  ifreq asked{};
  interface.copy(asked.ifr_name, IF_NAMESIZE - 1);
  if (::ioctl(socket.number(), SIOCGIFHWADDR, &asked) != 0) return fail_system(fmt::format("asking for the type of {} refused", interface));
  if (asked.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return fail(fmt::format("{} is no Ethernet interface; name the one by which the balancers' packets come", interface));
  }
  return index;
}

}  // namespace

Result<std::unique_ptr<DsrBackend>> attach_dsr_backend(const std::string& interface, std::span<const Endpoint> addresses) {
  const auto index = ethernet_index(interface);
  if (!index) return std::unexpected(index.error());
  libbpf_set_print(print_to_debug_log);
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return std::unexpected(system_error("counting CPUs refused", -cpus));
  Object object(dsr_backend_bpf::open());
  if (!object) return std::unexpected(kernel_refused("opening the program refused", errno));
  if (const int answer = dsr_backend_bpf::load(object.get()); answer != 0) {
    return std::unexpected(kernel_refused("loading the program refused", -answer));
  }
  for (const Endpoint& address : addresses) {
    const PathAddress key = path_address(address);
    const std::uint32_t value = 1;
    if (bpf_map__update_elem(object->maps.dsr_addresses, &key, sizeof key, &value, sizeof value, BPF_ANY) != 0) {
      return std::unexpected(kernel_refused(fmt::format("{}: at most {} addresses", address.ip_text(), +DSR_ADDRESSES_MAX), errno));
    }
  }
  const auto options = libbpf_options<bpf_tcx_opts>();
  Link link(bpf_program__attach_tcx(object->progs.dsr_backend, static_cast<int>(*index), &options));
  if (!link) {
    const int code = errno;
    return std::unexpected(kernel_refused(fmt::format("attaching to {} refused", interface), code));
  }
  return std::make_unique<EbpfDsrBackend>(std::move(object), std::move(link), static_cast<std::size_t>(cpus));
}

}  // namespace usher

#else

namespace usher {
Result<std::unique_ptr<DsrBackend>> attach_dsr_backend(const std::string&, std::span<const Endpoint>) { return fail("built without eBPF"); }
}  // namespace usher

#endif  // USHER_HAVE_BPF
