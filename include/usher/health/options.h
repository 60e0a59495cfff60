// What a pool says about health checks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "usher/base/clock.h"

namespace usher {

enum class CheckType { none, tcp, http };

struct StatusRange {
  std::uint16_t low = 200;
  std::uint16_t high = 399;
  friend bool operator==(const StatusRange&, const StatusRange&) = default;
};

/// A value. Defaults are those of conf/usher.toml.
struct HealthOptions {
  CheckType type = CheckType::tcp;
  Duration interval = std::chrono::seconds(2);
  Duration fast_interval = std::chrono::milliseconds(500);  ///< while a flip is being decided
  Duration timeout = std::chrono::seconds(1);
  std::uint32_t rise = 2;
  std::uint32_t fall = 3;
  std::uint16_t port = 0;  ///< 0 = the backend's own
  // http only
  std::string method = "GET";
  std::string path = "/";
  std::string host;                          ///< "" = the backend's address
  std::vector<StatusRange> expect_status = {StatusRange{}};  ///< written "200-399" or "200,204,300-399"
  std::string expect_body;                   ///< must occur in the first 64 KiB of the body; "" = anything

  friend bool operator==(const HealthOptions&, const HealthOptions&) = default;
};

}  // namespace usher
