// The live view's lines, made of painted pieces and clipped at the end.
#include "cli/live_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "cli/text.h"

namespace usher::cli {
namespace {

constexpr std::size_t name_columns = 8;
constexpr std::size_t bar_columns_max = 24;
constexpr std::uint64_t bar_full_min = 8;  // so that one connection is a small bar

enum class Paint { plain, bold, dim, green, yellow, red, cyan };

std::string_view escape_of(Paint paint) {
  switch (paint) {
    case Paint::plain:
      return "";
    case Paint::bold:
      return "\x1b[1m";
    case Paint::dim:
      return "\x1b[2m";
    case Paint::green:
      return "\x1b[32m";
    case Paint::yellow:
      return "\x1b[33m";
    case Paint::red:
      return "\x1b[31m";
    case Paint::cyan:
      return "\x1b[36m";
  }
  return "";
}

struct Piece {
  Paint paint = Paint::plain;
  std::string text;
};
using Line = std::vector<Piece>;

std::string render(Line line, const ViewStyle& style) {
  while (!line.empty()) {
    std::string& last = line.back().text;
    last.erase(last.find_last_not_of(' ') + 1);
    if (!last.empty()) break;
    line.pop_back();
  }
  std::string out;
  std::size_t left = style.columns;
  for (const Piece& piece : line) {
    const std::string safe = safe_text(piece.text);
    const std::string_view seen = text_prefix(safe, left);
    if (seen.empty()) continue;
    left -= text_width(seen);
    const bool painted = style.colours == Colours::on && piece.paint != Paint::plain;
    if (painted) out += escape_of(piece.paint);
    out += seen;
    if (painted) out += "\x1b[0m";
  }
  return out;
}

std::string milliseconds(Duration took) { return duration_text(std::chrono::duration<double>(took).count()); }

std::string clock_text(Duration running) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(running).count();
  return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

Paint health_paint(std::string_view health) {
  if (health == "up") return Paint::green;
  return health == "down" ? Paint::red : Paint::yellow;
}

std::string padded(std::string_view text, std::size_t columns) {
  std::string out(text_prefix(text, columns));
  out.append(columns - text_width(out), ' ');
  return out;
}

std::string bar_of(std::uint64_t active, std::uint64_t full, std::size_t columns, Glyphs glyphs) {
  const auto share = static_cast<double>(active) / static_cast<double>(full) * static_cast<double>(columns);
  // Something is never nothing: one connection of a thousand still shows.
  const auto length = active == 0 ? 0 : std::clamp<std::size_t>(static_cast<std::size_t>(share + 0.5), 1, columns);
  std::string bar;
  for (std::size_t i = 0; i < length; ++i) bar += glyphs == Glyphs::unicode ? "█" : "#";
  bar.append(columns - length, ' ');
  return bar;
}

/// Bars give way first where the terminal is narrow.
std::size_t bar_columns(const ViewStyle& style) {
  constexpr std::size_t others = 58;
  if (style.columns <= others) return 6;
  return std::clamp<std::size_t>(style.columns - others, 6, bar_columns_max);
}

std::vector<Line> head_lines(const ViewFrame& frame) {
  std::vector<Line> lines;
  lines.push_back({{Paint::bold, "usher demo"},
                   {Paint::plain, "  " + clock_text(frame.running) + "  "},
                   {Paint::cyan, frame.listener},
                   {Paint::plain, "  dashboard "},
                   {Paint::cyan, frame.dashboard}});
  lines.push_back({{Paint::dim, "steering: " + frame.steering}});
  lines.push_back({});
  lines.push_back(
      {{Paint::bold, fmt::format("{:.0f}", frame.connections_per_second)},
       {Paint::plain, fmt::format(" connections/s   {} active   {} accepted", frame.active, frame.accepted)}});
  lines.push_back({{Paint::plain, fmt::format("{} requests   ", frame.requests)},
                   {frame.errors == 0 ? Paint::plain : Paint::red, fmt::format("{} errors", frame.errors)},
                   {Paint::plain, fmt::format("   {} reconnects   p50 {}   p99 {}", frame.reconnects,
                                              milliseconds(frame.p50), milliseconds(frame.p99))}});
  return lines;
}

std::vector<Line> backend_lines(const ViewFrame& frame, const ViewStyle& style) {
  const std::size_t width = bar_columns(style);
  std::uint64_t full = bar_full_min;
  for (const ViewBackend& backend : frame.backends) full = std::max(full, backend.active);

  std::vector<Line> lines;
  lines.push_back(
      {{Paint::dim, fmt::format("   {:<{}}{:<10}{:<{}} {:>5} {:>7} {:>9} {:>6}  ", "backend", name_columns + 1,
                                "health", "active", width, "", "conn/s", "total", "flips")}});
  std::size_t number = 1;
  for (const ViewBackend& backend : frame.backends) {
    lines.push_back({{Paint::dim, fmt::format("{:>2} ", number++)},
                     {Paint::bold, padded(backend.name, name_columns) + " "},
                     {health_paint(backend.health), padded(backend.health, 9) + " "},
                     {Paint::cyan, bar_of(backend.active, full, width, style.glyphs)},
                     {Paint::plain, fmt::format(" {:>5} {:>7.1f} {:>9} {:>6}  ", backend.active, backend.per_second,
                                                backend.connections, backend.flips)},
                     {backend.remark == "killed" ? Paint::red : Paint::dim, backend.remark}});
  }
  return lines;
}

}  // namespace

std::string render_view(const ViewFrame& frame, const ViewStyle& style) {
  std::vector<Line> lines = head_lines(frame);
  lines.push_back({});
  for (Line& line : backend_lines(frame, style)) lines.push_back(std::move(line));

  // The events take what the rest leaves; the footer gives way only to what stands above.
  const std::size_t above = lines.size() + 1;
  const std::size_t below = frame.footer.empty() ? 0 : frame.footer.size() + 1;
  const std::size_t room = style.rows > above + below ? style.rows - above - below : 0;
  const std::size_t shown = std::min(room, frame.events.size());
  lines.push_back({});
  for (std::size_t i = frame.events.size() - shown; i < frame.events.size(); ++i)
    lines.push_back({{Paint::plain, frame.events[i]}});
  if (!frame.footer.empty()) {
    if (shown > 0) lines.push_back({});
    for (const std::string& text : frame.footer) lines.push_back({{Paint::dim, text}});
  }
  if (lines.size() > style.rows) lines.resize(style.rows);

  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    out += render(std::move(lines[i]), style);
  }
  return out;
}

std::string render_line(const ViewFrame& frame) {
  std::string out = fmt::format("{:>5}  {:.0f} connections/s  {} active ", clock_text(frame.running),
                                frame.connections_per_second, frame.active);
  for (const ViewBackend& backend : frame.backends) {
    out += fmt::format(" {} {} {}", backend.name, backend.health, backend.active);
  }
  return safe_text(out + fmt::format("  {} requests  {} errors  p50 {}  p99 {}", frame.requests, frame.errors,
                                     milliseconds(frame.p50), milliseconds(frame.p99)));
}

}  // namespace usher::cli
