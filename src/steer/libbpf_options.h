// How libbpf takes options: a struct that says its own size, and is zero where nothing is asked for.
#pragma once

#include <cstring>

namespace usher {

/// LIBBPF_OPTS() without the C extensions that it is made of (libbpf_common.h). Padding is zero, too: libbpf looks at it.
template <typename Options>
Options libbpf_options() noexcept {
  Options options;
  std::memset(&options, 0, sizeof options);
  options.sz = sizeof options;
  return options;
}

}  // namespace usher
