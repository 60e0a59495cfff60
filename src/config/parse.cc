// From a text or a file to a Config, or to everything that is wrong with it.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "config/document.h"
#include "config/schema.h"
#include "config/words.h"
#include "usher/base/fd.h"

namespace usher {
namespace {

constexpr std::size_t file_bytes_max = std::size_t{16} << 20;

constexpr Key<Config> root_keys[] = {
    {"global", [](const Value& v, Config& c) { read_global(v, c.global); }},
    {"admin", [](const Value& v, Config& c) { read_admin(v, c.admin); }},
    {"listener", [](const Value& v, Config& c) { read_each(v, read_listener, c.listeners); }},
    {"pool", [](const Value& v, Config& c) { read_each(v, read_pool, c.pools); }},
};

Result<std::string> read_file(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_system(fmt::format("can't open {}", quoted(path)));
  std::string text;
  std::array<char, 65536> block{};
  while (text.size() <= file_bytes_max) {
    const ssize_t count = ::read(file.number(), block.data(), block.size());
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_system(fmt::format("can't read {}", quoted(path)));
    text.append(block.data(), static_cast<std::size_t>(count));
  }
  return fail(fmt::format("{} is larger than {} bytes", quoted(path), file_bytes_max));
}

}  // namespace

std::vector<Section> root_sections() { return {section<Config>("", "the top level of the file", root_keys)}; }

void read_root(const Value& value, Config& into) { read_keys<Config>(value, root_keys, into); }

Parsed parse_config(std::string_view text, std::string_view file) {
  Report report(file);
  Config config;
  const auto root = parse_document(text);
  if (root) {
    read_root(Value(report, "", *root), config);
    check_config(*root, config, report);
  } else {
    report.error(root.error().at, root.error().message, root.error().hint);
  }
  Parsed parsed{std::nullopt, report.in_order()};
  if (!report.failed()) parsed.config = std::move(config);
  return parsed;
}

Parsed load_config(const std::string& path) {
  const auto text = read_file(path);
  if (text) return parse_config(*text, path);
  return {std::nullopt, {{Severity::error, path, 0, 0, text.error().message, ""}}};
}

}  // namespace usher
