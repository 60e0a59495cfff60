// Limits: descriptors shared out among sessions, pipes, listeners, checks and the house itself.
#include "control/limits.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "usher/base/mover.h"

namespace usher {

Result<Limits> divide_descriptors(std::uint64_t descriptors_max, std::uint32_t workers, std::uint32_t bound_addresses,
                                  std::uint32_t backends, std::uint32_t sessions_wanted) {
  // The house: log, signals, timers, the admin's sockets and clients, the eBPF maps; per worker a ring and an eventfd.
  const std::uint64_t house = 64 + std::uint64_t{workers} * 8 + std::uint64_t{bound_addresses} * (workers + 6);
  const std::uint64_t checks = std::min<std::uint64_t>(backends, 512);
  const std::uint64_t reserved = house + checks;
  const std::uint64_t needed = reserved + std::uint64_t{workers} * 4 + 16;
  if (descriptors_max < needed) {
    return fail(fmt::format("RLIMIT_NOFILE is {}, and {} descriptors are the least for this configuration; raise it "
                            "(LimitNOFILE= in the unit, ulimit -n in a shell)",
                            descriptors_max, needed));
  }
  const std::uint64_t rest = descriptors_max - reserved;
  // A sixteenth for pipes: only sessions that move bytes this very moment hold one.
  const std::uint64_t pipes_max = std::clamp<std::uint64_t>(rest / 32 / workers, 2, 1024);
  const std::uint64_t sessions_fit = (rest - pipes_max * workers * 2) / 2;
  Limits limits;
  limits.workers = workers;
  limits.descriptors_max = descriptors_max;
  limits.pipes_max = static_cast<std::uint16_t>(pipes_max);
  limits.sessions_max = static_cast<std::uint32_t>(std::min<std::uint64_t>(sessions_fit, sessions_wanted));
  if (limits.sessions_max < sessions_wanted) {
    limits.remark = fmt::format("global.max_connections is {}, but RLIMIT_NOFILE ({}) allows {} sessions of two descriptors each; "
                                "the rest is shed. Raise RLIMIT_NOFILE to {} to hold them all",
                                sessions_wanted, descriptors_max, limits.sessions_max,
                                reserved + std::uint64_t{sessions_wanted} * 2 + std::uint64_t{sessions_wanted} / 7);
  }
  return limits;
}

std::uint16_t share_pipe_pages(std::uint64_t pages, std::uint32_t workers) {
  constexpr std::uint64_t a_worker_max = 16;
  if (pages == 0) return a_worker_max;
  const std::uint64_t page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return static_cast<std::uint16_t>(std::min(a_worker_max, pages * page_bytes / 2 / large_pipe_bytes / workers));
}

std::uint64_t pipe_pages_ration() {
  std::uint64_t pages = 16384;
  std::ifstream("/proc/sys/fs/pipe-user-pages-soft") >> pages;
  return pages;
}

std::uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit wanted{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &wanted) == 0) return wanted.rlim_cur;
  }
  return limit.rlim_cur;
}

std::uint32_t usable_processors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
}

std::uint64_t open_descriptors() {
  std::error_code error;
  std::uint64_t count = 0;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", error); !error && it != std::filesystem::directory_iterator();
       it.increment(error)) {
    ++count;
  }
  return count > 0 ? count - 1 : 0;  // the directory itself was one of them
}

}  // namespace usher
