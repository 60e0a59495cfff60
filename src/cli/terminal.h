// The terminal: what it can do, its whole screen for a while, and single keys.
#pragma once

#include <termios.h>

#include <optional>
#include <string>
#include <string_view>

#include "cli/live_view.h"

namespace usher::cli {

/// Is stdout a terminal that can be drawn on (TERM is set, and not "dumb")?
bool terminal_can_draw();
/// Is stdin a terminal that keys come from, with this process in its foreground?
bool terminal_has_keys();

/// What the environment and stdout's size ask for. Pure but for getenv(3) and TIOCGWINSZ; unknown sizes are 80 by 24.
/// See no-color.org for NO_COLOR.
ViewStyle terminal_style();

/// Writes all of it to stdout. False where stdout is gone.
bool write_stdout(std::string_view text);

/// A resource: the alternate screen without a cursor, and keys without echo, until it is destroyed (see xterm's control
/// sequences and termios(3)). One at a time.
class TerminalScreen {
 public:
  enum class Keys { wanted, none };
  explicit TerminalScreen(Keys keys);
  TerminalScreen(const TerminalScreen&) = delete;
  TerminalScreen& operator=(const TerminalScreen&) = delete;
  ~TerminalScreen();

  /// Replaces what stands on the screen. False where stdout is gone.
  bool show(std::string_view text);

 private:
  std::optional<termios> before_;
};

}  // namespace usher::cli
