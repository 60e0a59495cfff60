// Network: three questions to rtnetlink, and their answers.
#include "control/network.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>

#include <fmt/format.h>

namespace usher {
namespace {

struct CloseSocket {
  void operator()(mnl_socket* socket) const noexcept { mnl_socket_close(socket); }
};

constexpr std::size_t buffer_bytes = 32768;  // what the kernel's dumps are cut to at most
using Buffer = std::array<char, buffer_bytes>;
using OnMessage = std::function<void(const nlmsghdr*)>;

int hand_on(const nlmsghdr* message, void* visit) {
  (*static_cast<const OnMessage*>(visit))(message);
  return MNL_CB_OK;
}

/// Sends `request`, and calls `visit` for each message of the answer.
Result<void> ask(nlmsghdr* request, std::string_view what, const OnMessage& visit) {
  const std::unique_ptr<mnl_socket, CloseSocket> socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) return fail_system(fmt::format("{}: rtnetlink", what));
  request->nlmsg_seq = 1;
  if (mnl_socket_sendto(socket.get(), request, request->nlmsg_len) < 0) return fail_system(what);
  const bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  auto answer = std::make_unique<Buffer>();
  while (true) {
    const ssize_t got = mnl_socket_recvfrom(socket.get(), answer->data(), answer->size());
    if (got < 0) return fail_system(what);
    const int more = mnl_cb_run(answer->data(), static_cast<std::size_t>(got), 1, mnl_socket_get_portid(socket.get()), hand_on,
                                const_cast<OnMessage*>(&visit));
    if (more < 0) return fail_system(what);
    if (more == MNL_CB_STOP || !dump) return {};
  }
}

using OnAttribute = std::function<void(std::uint16_t type, const nlattr* attribute)>;

int hand_attribute_on(const nlattr* attribute, void* visit) {
  (*static_cast<const OnAttribute*>(visit))(mnl_attr_get_type(attribute), attribute);
  return MNL_CB_OK;
}

/// Calls `visit` for each attribute behind a message's fixed part.
void each_attribute(const nlmsghdr* message, std::size_t fixed_bytes, const OnAttribute& visit) {
  mnl_attr_parse(message, static_cast<unsigned int>(fixed_bytes), hand_attribute_on, const_cast<OnAttribute*>(&visit));
}

Endpoint address_in(const nlattr* attribute, int family) {
  const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  const std::size_t length = mnl_attr_get_payload_len(attribute);
  if (family == AF_INET && length == 4) {
    return Endpoint::ipv4(std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3], 0);
  }
  if (family == AF_INET6 && length == 16) return Endpoint::ipv6(std::span<const std::uint8_t, 16>(bytes, 16), 0);
  return {};
}

}  // namespace

Result<std::vector<Interface>> list_interfaces() {
  Buffer buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETLINK;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg));
  std::vector<Interface> found;
  const auto asked = ask(request, "listing the interfaces", [&](const nlmsghdr* message) {
    const auto* link = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
    Interface one{.index = static_cast<std::uint32_t>(link->ifi_index),
                  .name = {},
                  .up = (link->ifi_flags & IFF_UP) != 0,
                  .loopback = (link->ifi_flags & IFF_LOOPBACK) != 0,
                  .ethernet = link->ifi_type == ARPHRD_ETHER};
    each_attribute(message, sizeof *link, [&](std::uint16_t type, const nlattr* attribute) {
      if (type == IFLA_IFNAME) one.name = mnl_attr_get_str(attribute);
    });
    found.push_back(std::move(one));
  });
  if (!asked) return std::unexpected(asked.error());
  return found;
}

Result<std::vector<Endpoint>> list_addresses() {
  Buffer buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETADDR;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  mnl_nlmsg_put_extra_header(request, sizeof(ifaddrmsg));
  std::vector<Endpoint> found;
  const auto asked = ask(request, "listing the addresses", [&](const nlmsghdr* message) {
    const auto* head = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    if (head->ifa_scope == RT_SCOPE_LINK) return;
    Endpoint address;
    each_attribute(message, sizeof *head, [&](std::uint16_t type, const nlattr* attribute) {
      // IFA_ADDRESS is the peer's on a point-to-point interface; IFA_LOCAL, where it is there, is always ours.
      if (type == IFA_LOCAL || (type == IFA_ADDRESS && !address.set())) address = address_in(attribute, head->ifa_family);
    });
    if (address.set()) found.push_back(address);
  });
  if (!asked) return std::unexpected(asked.error());
  return found;
}

Result<Route> find_route(const Endpoint& address) {
  Buffer buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETROUTE;
  request->nlmsg_flags = NLM_F_REQUEST;
  auto* head = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(rtmsg)));
  const auto bytes = address.address_bytes();
  head->rtm_family = static_cast<unsigned char>(address.family());
  head->rtm_dst_len = static_cast<unsigned char>(bytes.size() * 8);
  mnl_attr_put(request, RTA_DST, bytes.size(), bytes.data());
  Route route;
  const auto asked = ask(request, fmt::format("the route to {}", address.ip_text()), [&](const nlmsghdr* message) {
    const auto* found = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
    route.local = found->rtm_type == RTN_LOCAL;
    each_attribute(message, sizeof *found, [&](std::uint16_t type, const nlattr* attribute) {
      if (type == RTA_OIF) route.interface_index = mnl_attr_get_u32(attribute);
      if (type == RTA_PREFSRC) route.source = address_in(attribute, found->rtm_family);
    });
  });
  if (!asked) return std::unexpected(asked.error());
  return route;
}

}  // namespace usher
