// The live view: one moment of usher as a screen of text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "usher/base/clock.h"

namespace usher::cli {

enum class Colours { off, on };
enum class Glyphs { ascii, unicode };

/// What the terminal is like.
struct ViewStyle {
  std::size_t columns = 80;
  std::size_t rows = 24;
  Colours colours = Colours::off;
  Glyphs glyphs = Glyphs::ascii;
};

struct ViewBackend {
  std::string name;
  std::string health;  ///< as Service says it: "up", "down", "checking", "unchecked"
  std::string remark;  ///< "killed", "30 ms slower", or ""
  std::uint64_t active = 0;
  std::uint64_t connections = 0;
  double per_second = 0;
  std::uint64_t flips = 0;
};

/// One moment's numbers; a value.
struct ViewFrame {
  std::string listener;   ///< a URL
  std::string dashboard;  ///< a URL
  std::string steering;
  Duration running{};
  double connections_per_second = 0;
  std::uint64_t active = 0;
  std::uint64_t accepted = 0;
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;
  std::uint64_t reconnects = 0;
  Duration p50{};
  Duration p99{};
  std::vector<ViewBackend> backends;
  std::vector<std::string> events;  ///< oldest first; what doesn't fit is left out from the front
  std::vector<std::string> footer;
};

/// At most style.rows lines, joined by '\n', none wider than style.columns, none with blanks at its end. Without
/// colours there is no escape sequence in it, whatever the frame's texts hold. Pure.
std::string render_view(const ViewFrame& frame, const ViewStyle& style);

/// The same moment as one line, for what is not a terminal. Pure.
std::string render_line(const ViewFrame& frame);

}  // namespace usher::cli
