// Sheet: one worker's rows, in zero pages that become memory only where something counts.
#include <sys/mman.h>

#include <new>
#include <type_traits>

#include "usher/metrics/counters.h"

namespace usher {
namespace {

// A row is used as mmap(2) gives it: zero bytes are a row of zero counters, and constructing 16384 of them would make
// every page resident. Nothing else may creep into a row.
template <typename Row>
constexpr bool all_counters = std::is_standard_layout_v<Row>&& std::is_trivially_destructible_v<Row> &&
                              sizeof(Row) % sizeof(std::uint64_t) == 0 && alignof(Row) == alignof(std::uint64_t);
static_assert(sizeof(Counter) == sizeof(std::uint64_t));
static_assert(all_counters<ListenerCounters> && all_counters<BackendCounters>);

template <typename Row>
Row* map_rows(std::uint32_t count) {
  const std::size_t bytes = sizeof(Row) * count;
  void* rows = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (rows == MAP_FAILED) throw std::bad_alloc();
  // With transparent huge pages "always", the first count would make 2 MiB resident. A kernel without them answers
  // EINVAL, and then there is nothing to turn off.
  (void)::madvise(rows, bytes, MADV_NOHUGEPAGE);
  return std::launder(static_cast<Row*>(rows));
}

}  // namespace

Sheet::Sheet() : listeners_(map_rows<ListenerCounters>(listener_rows)), backends_(nullptr) {
  try {
    backends_ = map_rows<BackendCounters>(backend_rows);
  } catch (...) {
    ::munmap(listeners_, sizeof(ListenerCounters) * listener_rows);
    throw;
  }
}

Sheet::~Sheet() {
  ::munmap(listeners_, sizeof(ListenerCounters) * listener_rows);
  ::munmap(backends_, sizeof(BackendCounters) * backend_rows);
}

}  // namespace usher
