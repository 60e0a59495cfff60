// What a pool says about picking.
#pragma once

#include <cstdint>
#include <string_view>

namespace usher {

enum class Algorithm { round_robin, random, two_choices, least_connections, least_latency, source_hash, maglev };
enum class HashKey { source, source_port };

[[nodiscard]] std::string_view name(Algorithm algorithm) noexcept;

/// A value. Defaults are those of conf/usher.toml.
struct PickerOptions {
  Algorithm algorithm = Algorithm::least_connections;
  HashKey hash_key = HashKey::source;       ///< which part of the client's address the key is made of
  std::uint32_t maglev_table_size = 65537;  ///< 65,537 or 655,373: primes, as the paper asks
  double panic_threshold = 0.0;             ///< below this share of healthy ones, use them all

  friend bool operator==(const PickerOptions&, const PickerOptions&) = default;
};

}  // namespace usher
