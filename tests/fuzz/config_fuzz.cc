// Fuzzes parse_config: any text gives a config or at least one error, and every problem points into the text.
#include <algorithm>
#include <cstdlib>

#include "usher/config/config.h"

namespace {

void require(bool kept) {
  if (!kept) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* start, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(start), size);
  const usher::Parsed parsed = usher::parse_config(text, "fuzz.toml");
  const auto errors = std::ranges::count(parsed.problems, usher::Severity::error, &usher::Diagnostic::severity);
  require(parsed.config.has_value() == (errors == 0));
  const auto lines = static_cast<std::uint32_t>(std::ranges::count(text, '\n')) + 1;
  for (const auto& problem : parsed.problems) {
    require(!problem.message.empty());
    require(problem.file == "fuzz.toml");
    require(problem.line <= lines);
    require(problem.text().starts_with("fuzz.toml:"));
  }
  return 0;
}
