// The demo's configuration, ports and directory.
#include "cli/demo_setup.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <filesystem>
#include <system_error>

#include "usher/base/fd.h"

namespace usher::cli {

std::string demo_config_text(const DemoSetup& setup) {
  std::string text = fmt::format(R"(# What usher demo runs.
[global]
drain_timeout = "2s"
max_connections = 2000
log_level = "error"                 # the view has the events

[admin]
socket = "{}"
http = "{}"

[[listener]]
name = "web"
bind = ["{}"]
pool = "app"

[[pool]]
name = "app"
algorithm = "least_connections"
connect_timeout = "1s"
initial = "up"

[pool.health]
type = "http"
interval = "500ms"
fast_interval = "100ms"
timeout = "1s"
rise = 1
fall = 2
)",
                                 setup.socket, setup.http.text(), setup.listener.text());
  for (const DemoBackendLine& backend : setup.backends) {
    text += fmt::format("\n[[pool.backend]]\nname = \"{}\"\naddress = \"{}\"\n", backend.name, backend.address.text());
  }
  return text;
}

Result<std::uint16_t> free_port(std::uint16_t first, std::uint16_t last) {
  for (unsigned port = first; port <= last; ++port) {
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) return fail_system("socket");
    // Ports in TIME_WAIT may be taken, as usher takes them; one that somebody listens on still may not.
    const int on = 1;
    ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const Endpoint endpoint = Endpoint::ipv4(INADDR_LOOPBACK, static_cast<std::uint16_t>(port));
    if (::bind(socket.number(), endpoint.data(), endpoint.length()) == 0 && ::listen(socket.number(), 1) == 0) {
      return static_cast<std::uint16_t>(port);
    }
    if (errno != EADDRINUSE && errno != EACCES) return fail_system(fmt::format("bind {}", endpoint.text()));
  }
  return fail(fmt::format("every port of 127.0.0.1 from {} to {} is taken", first, last));
}

Result<PrivateDirectory> PrivateDirectory::make() {
  const char* parent = ::getenv("TMPDIR");
  std::string path = fmt::format("{}/usher-demo-XXXXXX", parent != nullptr && *parent != '\0' ? parent : "/tmp");
  if (::mkdtemp(path.data()) == nullptr) return fail_system(fmt::format("mkdtemp {}", path));
  return PrivateDirectory(path);
}

PrivateDirectory::~PrivateDirectory() {
  if (path_.empty()) return;
  std::error_code ignored;  // the system cleans its temporary directory, too
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace usher::cli
