// Fuzzes HttpResponse and HttpCheck: any answer, split anyhow, gives the same reading in bounded memory.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "usher/base/rng.h"
#include "usher/health/http_check.h"
#include "usher/health/http_response.h"

namespace {

void demand(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::uint8_t choice = bytes[0];
  const std::string_view text(reinterpret_cast<const char*>(bytes + 1), size - 1);
  const char* const method = choice % 2 == 0 ? "GET" : "HEAD";

  usher::HealthOptions options;
  options.method = method;
  if (choice % 4 < 2) options.expect_body = "ok";

  usher::HttpResponse whole(method);
  whole.feed(text);
  usher::HttpCheck check_whole(options);
  auto result_whole = check_whole.feed(text);
  if (!result_whole) result_whole = check_whole.finish();

  usher::Rng rng(choice);
  const std::uint64_t piece_max = 1 + rng.below(64);
  usher::HttpResponse split(method);
  usher::HttpCheck check_split(options);
  std::optional<usher::CheckResult> result_split;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view piece = rest.substr(0, 1 + rng.below(piece_max));
    split.feed(piece);
    if (!result_split) result_split = check_split.feed(piece);
    rest.remove_prefix(piece.size());
  }
  if (!result_split) result_split = check_split.finish();

  using Stage = usher::HttpResponse::Stage;
  demand(whole.stage() == split.stage());
  demand(whole.status() == split.status());
  demand(whole.body() == split.body());
  demand(whole.body().size() <= usher::http_body_bytes_max);
  demand((whole.stage() == Stage::broken) == !whole.problem().empty());
  demand(result_whole->passed == result_split->passed);
  demand(!result_whole->reason.empty() && result_whole->reason.size() < 512);
  whole.finish();
  demand(whole.stage() == Stage::complete || whole.stage() == Stage::broken);
  return 0;
}
