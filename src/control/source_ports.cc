// Source ports: what two sysctls leave.
#include "control/source_ports.h"

#include <algorithm>
#include <bitset>
#include <charconv>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>

#include "usher/steer/path_abi.h"

namespace usher {
namespace {

constexpr std::size_t port_count = 65536;
constexpr std::uint32_t first_port = 1024;
constexpr PortRange usual_local_range{32768, 60999};

std::optional<std::uint16_t> port_in(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
  return code == std::errc{} && end == text.data() + text.size() ? std::optional(port) : std::nullopt;
}

PortRange local_range_in(std::string_view text) {
  std::istringstream words{std::string(text)};
  PortRange range;
  return words >> range.first >> range.second && range.first <= range.second ? range : usual_local_range;
}

void mark(std::bitset<port_count>& ports, PortRange range, bool value) {
  for (std::uint32_t port = range.first; port <= range.second; ++port) ports[port] = value;
}

void mark_reserved(std::bitset<port_count>& ports, std::string_view text) {
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    while (!item.empty() && (item.back() == '\n' || item.back() == ' ')) item.remove_suffix(1);
    const std::size_t dash = item.find('-');
    const auto first = port_in(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : port_in(item.substr(dash + 1));
    if (first && last && *first <= *last) mark(ports, {*first, *last}, true);
  }
}

std::string line_of(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

std::vector<PortRange> ports_left(std::string_view local_range, std::string_view reserved) {
  std::bitset<port_count> left;
  mark(left, {first_port, port_count - 1}, true);
  mark(left, local_range_in(local_range), false);
  mark_reserved(left, reserved);
  std::vector<PortRange> ranges;
  for (std::uint32_t port = first_port; port < port_count; ++port) {
    if (!left[port]) continue;
    std::uint32_t last = port;
    while (last + 1 < port_count && left[last + 1]) ++last;
    ranges.emplace_back(static_cast<std::uint16_t>(port), static_cast<std::uint16_t>(last));
    port = last;
  }
  std::ranges::sort(ranges, std::less{}, [](const PortRange& range) { return std::pair(range.first - range.second, range.first); });
  if (ranges.size() > PATH_PORT_RANGES) ranges.resize(PATH_PORT_RANGES);
  std::ranges::sort(ranges);
  return ranges;
}

std::vector<PortRange> ports_left_by_the_stack() {
  return ports_left(line_of("/proc/sys/net/ipv4/ip_local_port_range"), line_of("/proc/sys/net/ipv4/ip_local_reserved_ports"));
}

}  // namespace usher
