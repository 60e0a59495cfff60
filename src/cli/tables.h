// Tables: the API's JSON as aligned text for people.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "usher/base/error.h"

namespace usher::cli {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
};

/// Titles, then rows; two spaces between columns, none at the end of a line. A short row is filled with nothing. Pure.
std::string render_table(const std::vector<Column>& columns, const std::vector<std::vector<std::string>>& rows);

/// Each takes the body of GET /api/v1/WORD. A field that is missing shows as "-"; a body that isn't JSON, or not of the
/// expected shape, is an error. Pure.
Result<std::string> status_table(std::string_view json);
Result<std::string> listeners_table(std::string_view json);
Result<std::string> backends_table(std::string_view json);
Result<std::string> connections_table(std::string_view json);
Result<std::string> events_table(std::string_view json);

}  // namespace usher::cli
