// Reads "0::/system.slice/usher.service" and the mount that has it.
#include "steer/cgroup_folder.h"

#include <fmt/format.h>

#include <optional>
#include <sstream>
#include <vector>

namespace usher {
namespace {

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

/// mountinfo writes a space, a tab, a newline and a backslash as \ooo.
std::string unescaped(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto digit = [&](std::size_t place) { return at + place < text.size() && text[at + place] >= '0' && text[at + place] <= '7'; };
    if (text[at] == '\\' && digit(1) && digit(2) && digit(3)) {
      plain += static_cast<char>((text[at + 1] - '0') * 64 + (text[at + 2] - '0') * 8 + (text[at + 3] - '0'));
      at += 3;
    } else {
      plain += text[at];
    }
  }
  return plain;
}

std::optional<std::string> own_path(std::string_view cgroup) {
  std::istringstream lines{std::string(cgroup)};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return std::nullopt;
}

}  // namespace

Result<std::string> cgroup_folder(std::string_view cgroup, std::string_view mountinfo) {
  const auto path = own_path(cgroup);
  if (!path) return fail("this kernel has no cgroup v2");
  // A path from a cgroup namespace that this process has left, or was moved out of.
  if (path->starts_with("/..")) return fail(fmt::format("its cgroup, {}, is outside of what it may see", *path));
  std::istringstream lines{std::string(mountinfo)};
  bool mounted = false;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos || !line.substr(dash + 3).starts_with("cgroup2 ")) continue;
    const auto words = words_of(line.substr(0, dash));
    if (words.size() < 5) continue;
    mounted = true;
    const std::string root = unescaped(words[3]);
    const std::string point = unescaped(words[4]);
    if (root == "/") return *path == "/" ? point : point + *path;
    if (*path == root) return point;
    if (path->starts_with(root + "/")) return point + path->substr(root.size());
  }
  if (mounted) return fail(fmt::format("its cgroup, {}, is in none of the cgroup v2 mounts that it sees", *path));
  return fail("no cgroup v2 is mounted here (mount -t cgroup2 none FOLDER)");
}

}  // namespace usher
