// Text for people: durations, sizes, and strings made safe for a terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace usher::cli {

/// "850us", "12.5ms", "1.2s", "3m 20s", "2h 5m", "4d 3h"; below a microsecond "0s".
std::string duration_text(double seconds);
/// "512 B", "1.5 KiB", "20.0 GiB".
std::string size_text(std::uint64_t bytes);

/// `text` with control bytes replaced by '?': what a backend or a name brings must not drive the terminal.
std::string safe_text(std::string_view text);

/// Code points of a UTF-8 text, which is its width here: usher writes nothing wide.
std::size_t text_width(std::string_view text);
/// The first `columns` code points.
std::string_view text_prefix(std::string_view text, std::size_t columns);

}  // namespace usher::cli
