// What the demo stands on: its configuration, its ports, its directory.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "usher/base/endpoint.h"
#include "usher/base/error.h"

namespace usher::cli {

struct DemoBackendLine {
  std::string name;
  Endpoint address;
};

struct DemoSetup {
  Endpoint listener;
  Endpoint http;
  std::string socket;
  std::vector<DemoBackendLine> backends;
};

/// The demo's usher.toml: a listener "web" and a pool "app". Pure.
std::string demo_config_text(const DemoSetup& setup);

/// The first port of 127.0.0.1 from `first` to `last` that nobody listens on.
Result<std::uint16_t> free_port(std::uint16_t first, std::uint16_t last);

/// A resource: a directory that only this user can enter, in TMPDIR or /tmp, removed with all that is in it.
class PrivateDirectory {
 public:
  static Result<PrivateDirectory> make();
  PrivateDirectory(PrivateDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  PrivateDirectory& operator=(PrivateDirectory&&) = delete;
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;
  ~PrivateDirectory();
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  explicit PrivateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace usher::cli
