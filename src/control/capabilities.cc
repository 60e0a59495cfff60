// Capabilities by the system calls themselves: the C library has no words for them.
#include "control/capabilities.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace usher {
namespace {

using Words = __user_cap_data_struct[_LINUX_CAPABILITY_U32S_3];

bool get(Words& words) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  return ::syscall(SYS_capget, &header, words) == 0;
}

}  // namespace

Capabilities own_capabilities() {
  Words words = {};
  if (!get(words)) return 0;
  return words[0].effective | Capabilities{words[1].effective} << 32;
}

Result<void> keep_capabilities(Capabilities kept) {
  Words words = {};
  if (!get(words)) return fail_system("capget");
  for (int half = 0; half < 2; ++half) {
    words[half].permitted &= static_cast<__u32>(kept >> (32 * half));
    words[half].effective = words[half].permitted;
    words[half].inheritable = 0;
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  if (::syscall(SYS_capset, &header, words) != 0) return fail_system("capset");
  return {};
}

}  // namespace usher
