// Limits: what RLIMIT_NOFILE and the processors allow, worked out once at start.
#pragma once

#include <cstdint>
#include <string>

#include "usher/base/error.h"

namespace usher {

struct Limits {
  std::uint32_t workers = 1;
  std::uint32_t sessions_max = 0;      ///< over all workers
  std::uint16_t pipes_max = 0;         ///< a worker
  std::uint16_t large_pipes_max = 0;   ///< a worker; of these, for bulk
  std::uint64_t descriptors_max = 0;   ///< RLIMIT_NOFILE, soft, after it was raised
  std::string remark;                  ///< a sentence where fewer sessions fit than were asked for; else ""
};

/// What a process with `descriptors_max` descriptors can hold. Pure. `bound_addresses` counts listening addresses. The error
/// says how many descriptors would be needed.
Result<Limits> divide_descriptors(std::uint64_t descriptors_max, std::uint32_t workers, std::uint32_t bound_addresses,
                                  std::uint32_t backends, std::uint32_t sessions_wanted);

/// How many large pipes a worker may have, so that all workers together take at most half of a ration of `pages`
/// (fs.pipe-user-pages-soft of proc(5); 0 = no ration). Pure.
std::uint16_t share_pipe_pages(std::uint64_t pages, std::uint32_t workers);
/// This machine's ration; as Linux has it by default where it can't be read.
std::uint64_t pipe_pages_ration();

/// Raises the soft RLIMIT_NOFILE to the hard one (setrlimit(2)) and answers it.
std::uint64_t raise_descriptor_limit();
/// The processors that this process may use (sched_getaffinity(2)), at least 1.
std::uint32_t usable_processors();
/// How many descriptors are open now (/proc/self/fd), 0 when that can't be read.
std::uint64_t open_descriptors();

}  // namespace usher
