// Fuzzes parse_proxy_header: whatever comes, its three answers keep their promises, and it agrees with itself.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "usher/relay/proxy_header.h"

namespace {

void require(bool kept) {
  if (!kept) std::abort();
}

using usher::ProxyHeader;
using State = usher::ProxyHeaderState;

/// A copy in a block of its own size: the sanitizer sees a byte read past the end.
ProxyHeader parse_copy(std::span<const std::uint8_t> bytes) {
  const std::vector<std::uint8_t> copy(bytes.begin(), bytes.end());
  return usher::parse_proxy_header(copy);
}

void check_round_trip(const ProxyHeader& header) {
  for (const auto build : {usher::build_proxy_header_v1, usher::build_proxy_header_v2}) {
    std::array<std::uint8_t, usher::proxy_header_built_bytes_max> out{};
    const std::size_t count = build(header.source, header.destination, out);
    const ProxyHeader again = parse_copy(std::span(out).first(count));
    require(again.state == State::complete && again.length == count && again.local == header.local);
    require(again.source.unmapped() == header.source.unmapped());
    require(again.destination.unmapped() == header.destination.unmapped());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* start, std::size_t size) {
  const std::span bytes(start, size);
  const ProxyHeader header = parse_copy(bytes);
  switch (header.state) {
    case State::partial:
      require(header.length == 0 && size < usher::proxy_header_v2_bytes_max);
      break;
    case State::bad:
      require(!header.complaint.empty());
      break;
    case State::complete:
      require(header.length > 0 && header.length <= size);
      require(header.source.set() != header.local && header.destination.set() != header.local);
      require(parse_copy(bytes.first(header.length)).state == State::complete);
      require(parse_copy(bytes.first(header.length - 1)).state == State::partial);
      check_round_trip(header);
      break;
  }
  if (header.state == State::partial && size > 0) require(parse_copy(bytes.first(size - 1)).state == State::partial);
  return 0;
}
