// LoadPlan and ServePlan: what a run shall do; values, checked by whoever made them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "usher/base/clock.h"
#include "usher/base/endpoint.h"

namespace usher::load {

enum class LoadMode : std::uint8_t { stream, echo, connect, idle, http };
enum class Direction : std::uint8_t { up, down, both };

inline constexpr std::uint32_t load_connections_max = 1'000'000;
/// The smallest request of the answer protocol: two little-endian u32, the request's length and the answer's.
inline constexpr std::uint32_t answer_head_bytes = 8;

struct LoadPlan {
  LoadMode mode = LoadMode::http;
  Endpoint target;
  std::vector<Endpoint> sources;  ///< bound to in turns; none: the kernel chooses
  std::uint32_t connections = 50;
  std::uint32_t threads = 1;
  Duration duration = std::chrono::seconds(10);  ///< without the warm-up
  Duration warmup = std::chrono::seconds(1);
  Duration timeout = std::chrono::seconds(5);  ///< of a connect, and of a request without an answer
  double rate = 0;                             ///< requests a second in all; 0 = closed loop
  double connect_rate = 0;                     ///< new connections a second in all; 0 = as fast as it goes
  std::uint64_t requests_max = 0;              ///< 0 = no such end
  std::uint32_t requests_per_connection = 0;   ///< 0 = no limit
  Direction direction = Direction::up;         ///< stream
  std::uint32_t request_bytes = 64;            ///< echo, connect
  std::uint32_t answer_bytes = 64;
  std::string request;       ///< http: the request whole; other modes: made from the sizes
  std::string last_request;  ///< http: the one that says "Connection: close"
  std::uint64_t seed = 1;    ///< of the jitter of retries
};

enum class ServeKind : std::uint8_t { echo, sink, source, http, answer };
enum class Sinking : std::uint8_t { copied, discarded };

struct ServePlan {
  ServeKind kind = ServeKind::http;
  std::vector<Endpoint> listen;
  std::uint32_t threads = 1;
  std::uint32_t connections_max = 65'536;  ///< a thread
  Sinking sinking = Sinking::copied;
  std::uint32_t body_bytes = 128;  ///< http: of a path that is no number
};

}  // namespace usher::load
