// The dsr verb: attaches, warns of an address that the stack wouldn't take packets for, waits, and tells what has passed.
#include "cli/dsr.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "cli/answer.h"
#include "cli/terminal.h"
#include "usher/base/endpoint.h"
#include "usher/base/fd.h"
#include "usher/steer/dsr_backend.h"

namespace usher::cli {
namespace {

/// Whether the stack takes packets for this address: bind(2) asks the same table, and knows of addresses that are only routed here.
bool is_taken_here(const Endpoint& address) {
  const Fd socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  return !socket || ::bind(socket.number(), address.data(), address.length()) == 0 || errno != EADDRNOTAVAIL;
}

void say(const std::string& line) {
  std::fputs(line.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace

int run_dsr(const Arguments& arguments) {
  // Before anything is attached, so that no signal finds the way in between.
  sigset_t ends;
  sigemptyset(&ends);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ends, number);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  std::vector<Endpoint> addresses;
  for (const std::string& text : arguments.addresses) {
    auto address = Endpoint::parse_ip(text, 0);
    if (!address) {
      std::fputs(fmt::format("usher dsr: {}\n", address.error().message).c_str(), stderr);
      return exit_usage;
    }
    addresses.push_back(*address);
  }
  const auto attached = attach_dsr_backend(arguments.interface, addresses);
  if (!attached) {
    std::fputs(fmt::format("usher dsr: {}\n", attached.error().message).c_str(), stderr);
    return exit_refused;
  }
  for (const Endpoint& address : addresses) {
    if (is_taken_here(address)) continue;
    std::fputs(fmt::format("usher dsr: warning: {0} is no address of this host, so its packets will be dropped; 'ip address add {0}/{1} dev lo'\n",
                           address.ip_text(), address.family() == AF_INET ? 32 : 128)
                   .c_str(),
               stderr);
  }
  say(fmt::format("unwrapping packets for {} that come in at {}, until SIGTERM or Ctrl-C\n", fmt::join(arguments.addresses, ", "),
                  arguments.interface));
  int number = 0;
  sigwait(&ends, &number);
  const auto counts = (*attached)->counts();
  say(fmt::format("detached: {} packets unwrapped, {} of other tunnels left as they were, {} refused by the kernel, {} dropped as congested\n",
                  counts[DSR_TAKEN], counts[DSR_OTHER_TUNNEL], counts[DSR_REFUSED], counts[DSR_CONGESTED]));
  return exit_done;
}

}  // namespace usher::cli
