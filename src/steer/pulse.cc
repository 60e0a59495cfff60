// Decides between eBPF and the null object; what counts are made of.
#include "usher/steer/pulse.h"

#include <utility>

#include "steer/ebpf_pulse.h"

namespace usher {
namespace {

class NullPulse final : public Pulse {
 public:
  explicit NullPulse(std::string reason) : reason_(std::move(reason)) {}

  Result<void> set_workers(std::span<const std::uint32_t>) override { return {}; }
  Result<void> set_backends(std::span<const PulseBackend>) override { return {}; }
  PathCounts counts(std::uint32_t) override { return {}; }
  bool active() const noexcept override { return false; }
  std::string describe() const override { return "not counted: " + reason_; }

 private:
  std::string reason_;
};

}  // namespace

#ifndef USHER_HAVE_BPF
Result<std::unique_ptr<Pulse>> load_ebpf_pulse() { return fail("built without eBPF"); }
#endif

std::unique_ptr<Pulse> make_null_pulse(std::string reason) { return std::make_unique<NullPulse>(std::move(reason)); }

std::unique_ptr<Pulse> make_pulse() {
  auto pulse = load_ebpf_pulse();
  if (!pulse) return make_null_pulse(std::move(pulse.error().message));
  return std::move(*pulse);
}

void add(PathCounts& sum, const PathCounts& one) noexcept {
  sum.tried += one.tried;
  sum.established += one.established;
  sum.refused += one.refused;
  sum.syn_retransmits += one.syn_retransmits;
  sum.retransmits += one.retransmits;
  sum.resets += one.resets;
  sum.packets_in += one.packets_in;
  sum.bytes_in += one.bytes_in;
  sum.packets_out += one.packets_out;
  sum.bytes_out += one.bytes_out;
  for (std::size_t bucket = 0; bucket < PATH_RTT_BUCKETS; ++bucket) sum.rtt[bucket] += one.rtt[bucket];
}

std::string_view name(PathVerdict verdict) noexcept {
  switch (verdict) {
    case PATH_FORWARDED: return "forwarded";
    case PATH_OPENED: return "opened";
    case PATH_ADOPTED_FLOW: return "adopted";
    case PATH_NO_BACKEND: return "no_backend";
    case PATH_NO_PORT: return "no_port";
    case PATH_TABLE_FULL: return "table_full";
    case PATH_LOCAL_SOCKET: return "local_socket";
    case PATH_UNKNOWN: return "unknown";
    case PATH_RESET_DOWN: return "reset_down";
    case PATH_TOO_BIG: return "too_big";
    case PATH_ICMP: return "icmp";
    case PATH_FRAGMENT: return "fragment";
    case PATH_FRAGMENT_LOST: return "fragment_lost";
    case PATH_HOPS: return "hops";
    case PATH_MALFORMED: return "malformed";
    case PATH_VERDICTS: return "unnamed";
  }
  return "unnamed";
}

}  // namespace usher
