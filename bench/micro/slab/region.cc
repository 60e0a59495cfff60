// Region: mapping it, and finding out what the kernel made of the wish.
#include "slab/region.h"

#include <sys/mman.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>

namespace usher::micro {
namespace {

constexpr std::size_t huge_page_bytes = 2U << 20;  // x86-64 and arm64 with 4 KiB pages; others refuse or say 0

std::size_t in_huge_pages(std::size_t bytes) noexcept { return (bytes + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes; }

}  // namespace

Result<Region> Region::map(std::size_t bytes, Pages pages) {
  const std::size_t wanted = in_huge_pages(bytes);
  if (pages == Pages::set_aside) {
    void* const all = ::mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (all == MAP_FAILED) return fail_system("too few huge pages are set aside (vm.nr_hugepages)");
    return Region(all, wanted, all);
  }
  const std::size_t mapped = wanted + huge_page_bytes;
  void* const all = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return fail_system("mmap");
  Region region(all, mapped, reinterpret_cast<void*>(in_huge_pages(reinterpret_cast<std::uintptr_t>(all))));
  if (::madvise(region.start_, wanted, pages == Pages::advised ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0) {
    return fail_system("a kernel without transparent huge pages: madvise");
  }
  return region;
}

Region::Region(Region&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)), mapped_bytes_(other.mapped_bytes_), start_(other.start_) {}

Region::~Region() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapped_bytes_);
}

Result<std::size_t> Region::huge_bytes() const {
  std::ifstream smaps("/proc/self/smaps");
  bool mine = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    std::size_t kib = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
      const auto start = reinterpret_cast<std::uintptr_t>(start_);
      mine = from <= start && start < to;
    } else if (mine && (std::sscanf(line.c_str(), "AnonHugePages: %zu kB", &kib) == 1 ||
                        std::sscanf(line.c_str(), "Private_Hugetlb: %zu kB", &kib) == 1)) {
      if (kib != 0) return kib * 1024;
    }
  }
  if (!smaps.eof()) return fail_system("/proc/self/smaps");
  return 0;
}

}  // namespace usher::micro
