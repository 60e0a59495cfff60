// The admin client: one request over the Unix socket, and a helpful sentence where nobody answers.
#include "usher/admin/client.h"

#include <fmt/format.h>
#include <grp.h>
#include <httplib.h>
#include <pwd.h>
#include <sys/stat.h>

#include <array>
#include <chrono>

#include "admin/listening_socket.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

constexpr auto answer_time_max = 10s;
constexpr auto reload_time_max = 30s;
constexpr auto write_time_max = 5s;

std::string user_name(uid_t id) {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> text{};
  const bool known = ::getpwuid_r(id, &entry, text.data(), text.size(), &found) == 0 && found != nullptr;
  return known ? std::string(entry.pw_name) : std::to_string(id);
}

std::string group_name(gid_t id) {
  group entry{};
  group* found = nullptr;
  std::array<char, 4096> text{};
  const bool known = ::getgrgid_r(id, &entry, text.data(), text.size(), &found) == 0 && found != nullptr;
  return known ? std::string(entry.gr_name) : std::to_string(id);
}

std::string permission_hint(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return "its directory is closed to you; ask as root";
  return fmt::format("it is {}:{}, mode {:04o}; ask as a member of group {}, or as root", user_name(file.st_uid),
                     group_name(file.st_gid), file.st_mode & 07777U, group_name(file.st_gid));
}

Error nobody_answers(const std::string& path, int code) {
  const std::string hint = code == EACCES ? permission_hint(path) : "is it running? (--socket PATH names another)";
  return {fmt::format("{}; {}", system_error("no usher answers on " + path, code).message, hint), code};
}

}  // namespace

Result<AdminResponse> admin_request(const std::string& socket_path, std::string_view method, const std::string& path,
                                    const std::string& body) try {
  const auto wait_max = path.starts_with("/api/v1/reload") ? reload_time_max : answer_time_max;
  // The library says only that the connection failed, so ask the kernel why first.
  if (const int code = try_connect(socket_path); code != 0) return std::unexpected(nobody_answers(socket_path, code));

  httplib::Client client(socket_path, 80);
  client.set_address_family(AF_UNIX);
  client.set_connection_timeout(write_time_max);
  client.set_read_timeout(wait_max);
  client.set_write_timeout(write_time_max);
  httplib::Request request;
  request.method = std::string(method);
  request.path = path;
  request.headers = {{"Host", "localhost"}, {"Accept-Encoding", "identity"}, {"Connection", "close"}};
  if (!body.empty()) {
    request.body = body;
    request.set_header("Content-Type", "application/json");
  }
  const httplib::Result result = client.send(request);
  if (!result) {
    return fail(fmt::format("usher on {} gave no answer to {} {} (waited at most {} s): {}", socket_path, method, path,
                            wait_max.count(), httplib::to_string(result.error())));
  }
  return AdminResponse{result->status, result->body};
} catch (const std::exception& e) {
  return fail(fmt::format("asking usher on {} failed: {}", socket_path, e.what()));
}

}  // namespace usher
