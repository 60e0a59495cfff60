// The terminal, by escape sequences that everything since the VT100 and xterm knows.
#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace usher::cli {
namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// By the order of locale(7): LC_ALL, LC_CTYPE, LANG.
bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = environment(name);
    if (value.empty()) continue;
    return value.find("UTF-8") != std::string_view::npos || value.find("utf8") != std::string_view::npos;
  }
  return false;
}

}  // namespace

bool terminal_can_draw() {
  const std::string_view term = environment("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && !term.empty() && term != "dumb";
}

bool terminal_has_keys() {
  // A background process that touches the terminal's settings is stopped by SIGTTOU.
  return ::isatty(STDIN_FILENO) == 1 && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp();
}

ViewStyle terminal_style() {
  ViewStyle style;
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    style.columns = size.ws_col;
    style.rows = size.ws_row;
  }
  style.colours = terminal_can_draw() && environment("NO_COLOR").empty() ? Colours::on : Colours::off;
  style.glyphs = locale_is_utf8() ? Glyphs::unicode : Glyphs::ascii;
  return style;
}

bool write_stdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

TerminalScreen::TerminalScreen(Keys keys) {
  termios now{};
  if (keys == Keys::wanted && ::tcgetattr(STDIN_FILENO, &now) == 0) {
    before_ = now;
    // ISIG stays on: Ctrl-C is a signal, as everywhere.
    now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    ::tcsetattr(STDIN_FILENO, TCSANOW, &now);
  }
  write_stdout("\x1b[?1049h\x1b[?25l\x1b[2J");
}

TerminalScreen::~TerminalScreen() {
  write_stdout("\x1b[0m\x1b[?25h\x1b[?1049l");
  if (before_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &*before_);
}

bool TerminalScreen::show(std::string_view text) {
  std::string out = "\x1b[H";
  while (true) {
    const std::size_t end = text.find('\n');
    out += text.substr(0, end);
    out += "\x1b[K";  // what an older, longer line left
    if (end == std::string_view::npos) break;
    out += "\n";
    text.remove_prefix(end + 1);
  }
  return write_stdout(out + "\x1b[J");
}

}  // namespace usher::cli
