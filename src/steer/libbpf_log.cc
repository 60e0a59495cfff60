// What libbpf says, and what the kernel refuses.
#ifdef USHER_HAVE_BPF

#include "steer/libbpf_log.h"

#include <array>
#include <cerrno>
#include <cstdio>

#include "usher/base/log.h"

namespace usher {

int print_to_debug_log(libbpf_print_level level, const char* format, va_list arguments) {
  // Its own debug level tells of every section and relocation: a page for each listener.
  if (level == LIBBPF_DEBUG || !log_enabled(LogLevel::debug)) return 0;
  std::array<char, 2048> text{};
  const int length = std::vsnprintf(text.data(), text.size(), format, arguments);
  std::string_view line(text.data());
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  log_line(LogLevel::debug, "steer", line);
  return length;
}

Error kernel_refused(std::string_view what, int code) {
  Error error = system_error(what, code);
  error.message += code == EPERM ? "; needs CAP_BPF" : "; the debug log has what the kernel said";
  return error;
}

}  // namespace usher

#endif  // USHER_HAVE_BPF
