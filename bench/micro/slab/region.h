// Region: memory of a chosen kind of pages, to see what a slab would gain from them.
#pragma once

#include <cstddef>

#include "usher/base/error.h"

namespace usher::micro {

/// ordinary: never huge, whatever the machine's default is. advised: madvise(2) with MADV_HUGEPAGE. set_aside: mmap(2) with MAP_HUGETLB,
/// which takes them from vm.nr_hugepages.
enum class Pages { ordinary, advised, set_aside };

/// A resource: zeroed memory, at the start of a huge page.
class Region {
 public:
  /// The error names what this machine lacks.
  static Result<Region> map(std::size_t bytes, Pages pages);
  Region(Region&& other) noexcept;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  [[nodiscard]] void* start() const noexcept { return start_; }
  /// How much of it lies in huge pages now, as /proc/self/smaps has it.
  [[nodiscard]] Result<std::size_t> huge_bytes() const;

 private:
  Region(void* mapping, std::size_t mapped_bytes, void* start) noexcept : mapping_(mapping), mapped_bytes_(mapped_bytes), start_(start) {}

  void* mapping_;
  std::size_t mapped_bytes_;
  void* start_;
};

}  // namespace usher::micro
