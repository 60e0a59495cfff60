// Addresses of the file: parsing, and guessing what a wrong one was meant to be.
#include "config/addresses.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace usher {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), port);
  return !text.empty() && status == std::errc{} && end == text.data() + text.size() && port <= 65535;
}

/// A host name as in RFC 1123, whose last label has a letter (so that "10.0.0.256" is none).
bool is_host(std::string_view text) {
  const auto allowed = [](char c) { return digit(c) || letter(c) || c == '-' || c == '.' || c == '_'; };
  if (text.empty() || !std::ranges::all_of(text, allowed)) return false;
  const std::size_t dot = text.rfind('.');
  return std::ranges::any_of(dot == std::string_view::npos ? text : text.substr(dot + 1), letter);
}

std::string endpoint_hint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  const std::string_view after = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  if (is_port(text)) return fmt::format("write an IP before it: \"0.0.0.0:{}\" or \"127.0.0.1:{}\"", text, text);
  if (colon == 0 && is_port(after))
    return fmt::format("write an IP before it: \"0.0.0.0:{}\" or \"127.0.0.1:{}\"", after, after);
  if (const auto ip = Endpoint::parse_ip(text, 0)) {
    if (ip->family() == AF_INET) return fmt::format("add a port: \"{}:PORT\"", text);
    return "write an IPv6 address in brackets and add a port: \"[IP6]:PORT\"";
  }
  if (colon != std::string_view::npos && !is_port(after))
    return "the part after the last ':' must be a port from 0 to 65535";
  return "write IP:PORT or [IP6]:PORT";
}

}  // namespace

std::optional<Endpoint> read_endpoint(const Value& value) {
  const auto text = value.text();
  if (!text) return std::nullopt;
  if (const auto endpoint = Endpoint::parse(*text)) return *endpoint;
  const std::size_t colon = text->rfind(':');
  const std::string_view host = std::string_view(*text).substr(0, colon);
  if (colon != std::string::npos && is_host(host) && is_port(std::string_view(*text).substr(colon + 1))) {
    const std::string_view ip = host == "localhost" ? "127.0.0.1" : "IP";
    value.wrong("has a host name: not supported yet", fmt::format("write \"{}:{}\"", ip, text->substr(colon + 1)));
    return std::nullopt;
  }
  value.wrong("is not an address", endpoint_hint(*text));
  return std::nullopt;
}

std::optional<Endpoint> read_ip(const Value& value) {
  const auto text = value.text();
  if (!text) return std::nullopt;
  if (const auto ip = Endpoint::parse_ip(*text, 0)) return *ip;
  value.wrong("is not an IP address", Endpoint::parse(*text) ? "leave the port out" : "write an IP without a port");
  return std::nullopt;
}

std::vector<Cidr> read_blocks(const Value& value) {
  std::vector<Cidr> blocks;
  for (const Value& item : value.texts("a list of address blocks")) {
    if (const auto block = Cidr::parse(item.node().text)) {
      blocks.push_back(*block);
    } else {
      item.wrong("is not an address block", "write IP or IP/BITS, such as \"10.0.0.0/8\" or \"2001:db8::/32\"");
    }
  }
  return blocks;
}

}  // namespace usher
