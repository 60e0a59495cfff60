// JSON for the admin API: reports to text, and a change asked for from text. Knows nothing of sockets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "usher/base/error.h"
#include "usher/control/service.h"

namespace usher {

/// RFC 3339, UTC, milliseconds: "2024-06-11T09:30:00.250Z".
[[nodiscard]] std::string rfc3339(WallTime at);

/// Times are RFC 3339 or null, durations seconds, counts integers. Text that is not UTF-8 has its bad bytes replaced.
[[nodiscard]] std::string to_json(const StatusReport& status);
[[nodiscard]] std::string to_json(const std::vector<ListenerReport>& listeners);
[[nodiscard]] std::string to_json(const std::vector<BackendReport>& backends);
[[nodiscard]] std::string to_json(const BackendReport& backend);
[[nodiscard]] std::string to_json(const std::vector<ConnectionReport>& connections);
[[nodiscard]] std::string to_json(const std::vector<Event>& events);
/// A refused one has "error" as well.
[[nodiscard]] std::string to_json(const ReloadReport& reload);
[[nodiscard]] std::string config_json(std::string_view file, std::string_view text);
[[nodiscard]] std::string error_json(std::string_view sentence);

/// What a POST on a backend asks for.
using BackendChange = std::variant<Intent, std::uint32_t>;  // the second is a weight

/// {"state": "drain"|"enabled"|"disabled"} or {"weight": N}: exactly one of the two, as two changes can't be made at
/// once. The error says what is wrong and, for bad JSON, where.
[[nodiscard]] Result<BackendChange> parse_backend_change(std::string_view body);

}  // namespace usher
