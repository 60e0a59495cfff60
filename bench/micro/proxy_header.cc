// What reading and building a PROXY header costs.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "micro.h"
#include "usher/relay/proxy_header.h"

namespace {

using namespace usher;

using Bytes = std::vector<std::uint8_t>;
using Out = std::array<std::uint8_t, proxy_header_built_bytes_max>;
using Build = std::size_t (*)(const Endpoint&, const Endpoint&, std::span<std::uint8_t, proxy_header_built_bytes_max>) noexcept;

const Endpoint source_v4 = Endpoint::parse("192.0.2.33:51234").value();
const Endpoint destination_v4 = Endpoint::parse("198.51.100.7:443").value();
const Endpoint source_v6 = Endpoint::parse("[2001:db8:1:2:3:4:5:6]:51234").value();
const Endpoint destination_v6 = Endpoint::parse("[2001:db8::7]:443").value();

Bytes built(Build how, const Endpoint& source, const Endpoint& destination) {
  Out out{};
  const std::size_t length = how(source, destination, out);
  return {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(length)};
}

/// A v2 header with `tlv_bytes` behind its addresses, as a proxy that speaks TLS sends (specification, 2.2.x).
Bytes with_tlv(Bytes header, std::size_t tlv_bytes) {
  const std::size_t value_bytes = tlv_bytes - 3;
  header.push_back(0xe0);  // PP2_TYPE_MIN_CUSTOM
  header.push_back(static_cast<std::uint8_t>(value_bytes >> 8));
  header.push_back(static_cast<std::uint8_t>(value_bytes));
  header.resize(header.size() + value_bytes, 0x5a);
  const std::size_t rest = header.size() - 16;
  header[14] = static_cast<std::uint8_t>(rest >> 8);
  header[15] = static_cast<std::uint8_t>(rest);
  return header;
}

void parse(benchmark::State& state, const Bytes& header, ProxyHeaderState expected) {
  for (auto _ : state) {
    ProxyHeader found = parse_proxy_header(header);
    if (found.state != expected) return micro::broken(state, "the header was read as something else");
    benchmark::DoNotOptimize(found);
  }
}

void build(benchmark::State& state, Build how, const Endpoint& source, const Endpoint& destination) {
  Out out{};
  for (auto _ : state) {
    benchmark::DoNotOptimize(how(source, destination, out));
    benchmark::DoNotOptimize(out);
  }
  if (parse_proxy_header(out).state != ProxyHeaderState::complete) micro::broken(state, "what was built can't be read");
}

const Bytes v1_ipv4 = built(build_proxy_header_v1, source_v4, destination_v4);
const Bytes v1_ipv6 = built(build_proxy_header_v1, source_v6, destination_v6);
const Bytes v2_ipv4 = built(build_proxy_header_v2, source_v4, destination_v4);
const Bytes v2_ipv6 = built(build_proxy_header_v2, source_v6, destination_v6);
const Bytes v2_tlv = with_tlv(v2_ipv6, 256);
const Bytes v1_cut(v1_ipv6.begin(), v1_ipv6.end() - 2);

BENCHMARK_CAPTURE(parse, v1_ipv4, v1_ipv4, ProxyHeaderState::complete);
BENCHMARK_CAPTURE(parse, v1_ipv6, v1_ipv6, ProxyHeaderState::complete);
BENCHMARK_CAPTURE(parse, v2_ipv4, v2_ipv4, ProxyHeaderState::complete);
BENCHMARK_CAPTURE(parse, v2_ipv6, v2_ipv6, ProxyHeaderState::complete);
BENCHMARK_CAPTURE(parse, v2_ipv6_tlv_256, v2_tlv, ProxyHeaderState::complete);
BENCHMARK_CAPTURE(parse, v1_without_its_end, v1_cut, ProxyHeaderState::partial);
BENCHMARK_CAPTURE(build, v1_ipv4, build_proxy_header_v1, source_v4, destination_v4);
BENCHMARK_CAPTURE(build, v1_ipv6, build_proxy_header_v1, source_v6, destination_v6);
BENCHMARK_CAPTURE(build, v2_ipv4, build_proxy_header_v2, source_v4, destination_v4);
BENCHMARK_CAPTURE(build, v2_ipv6, build_proxy_header_v2, source_v6, destination_v6);

}  // namespace
