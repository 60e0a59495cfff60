// Arguments: the command line as a typed value.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "cli/answer.h"

namespace usher::cli {

enum class Verb {
  run,
  cleanup,  ///< run --cleanup
  check,
  doctor,
  demo,
  dsr,
  status,
  listeners,
  backends,
  connections,
  events,
  drain,
  enable,
  disable,
  weight,
  reload,
  unsupported,  ///< INTERFACE.md names it, and it isn't built yet
};

enum class Output { human, json };

struct Arguments {
  Verb verb = Verb::run;
  std::string unsupported;  ///< what was asked for, where verb is unsupported
  std::string config_file;
  std::string socket = "/run/usher/admin.sock";
  Output output = Output::human;
  std::string pool;
  std::string backend;
  std::uint32_t weight = 0;
  std::string interface;               ///< dsr only
  std::vector<std::string> addresses;  ///< dsr only; IP addresses
  std::optional<std::uint32_t> seconds;  ///< demo only; none = until it is told to stop
};

/// `words` without the program's own name. The Answer is a help text, a version (exit 0) or a usage error (exit 2: one
/// line and a hint). Pure.
std::expected<Arguments, Answer> parse_arguments(const std::vector<std::string>& words);

}  // namespace usher::cli
