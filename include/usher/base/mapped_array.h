// MappedArray: a fixed number of zeroed elements whose memory is only taken where it is touched.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace usher {

/// A resource over an anonymous private mapping (mmap(2)). T must be fine as zeroed bytes. Throws std::bad_alloc when the
/// address space is refused: start-up only.
template <typename T>
class MappedArray {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  explicit MappedArray(std::size_t count) : count_(count) {
    if (count == 0) return;
    void* start = ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) throw std::bad_alloc();
    start_ = static_cast<T*>(start);
  }
  MappedArray(const MappedArray&) = delete;
  MappedArray& operator=(const MappedArray&) = delete;
  ~MappedArray() {
    if (start_ != nullptr) ::munmap(start_, count_ * sizeof(T));
  }

  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return start_[i]; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return start_[i]; }

 private:
  std::size_t count_;
  T* start_ = nullptr;
};

}  // namespace usher
