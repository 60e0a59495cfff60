// What libbpf says goes to the debug log, and what the kernel refuses becomes an error with its cure.
#pragma once

#include <bpf/libbpf.h>

#include <cstdarg>
#include <string_view>

#include "usher/base/error.h"

namespace usher {

/// libbpf speaks to stderr unless told otherwise, and at length when a verifier refuses; for libbpf_set_print().
__attribute__((format(printf, 2, 0))) int print_to_debug_log(libbpf_print_level level, const char* format, va_list arguments);

/// The reason for status: what the kernel said, and the cure where there is one.
Error kernel_refused(std::string_view what, int code);

}  // namespace usher
