// The page at "/": status, listeners and backends in a browser, complete in itself.
#pragma once

#include <string_view>

namespace usher {

/// HTML that loads nothing from elsewhere and asks this server's own API once a second.
[[nodiscard]] std::string_view dashboard_page() noexcept;

/// The Content-Security-Policy that goes with it: its own inline style and script, its own server, nothing else.
inline constexpr std::string_view page_policy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace usher
