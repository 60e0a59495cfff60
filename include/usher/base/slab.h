// Slab: a fixed number of slots, each with a generation, so that a late answer to a reused slot is known as stale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>

#include "usher/base/mapped_array.h"

namespace usher {

/// Not thread safe. The last slot freed is the first one used again, so few slots stay warm; memory is touched only up to the
/// most slots ever used at once. No allocation after construction.
template <typename T>
class Slab {
  static_assert(std::is_trivially_destructible_v<T>, "what a slot owns is given back by name, before release");

 public:
  explicit Slab(std::uint32_t capacity) : items_(capacity), marks_(capacity), capacity_(capacity) {}

  /// A slot with a value-initialised T, or nothing when all are in use.
  std::optional<std::uint32_t> acquire() noexcept {
    std::uint32_t slot = 0;
    if (free_head_ != 0) {
      slot = free_head_ - 1;
      free_head_ = marks_[slot].next_free;
    } else if (touched_ < capacity_) {
      slot = touched_++;
    } else {
      return std::nullopt;
    }
    marks_[slot].next_free = in_use;
    ++used_;
    std::construct_at(&items_[slot]);
    return slot;
  }

  /// REQUIRES: in_use(slot). Its generation moves on.
  void release(std::uint32_t slot) noexcept {
    marks_[slot].generation = (marks_[slot].generation + 1) & generation_mask;
    marks_[slot].next_free = free_head_;
    free_head_ = slot + 1;
    --used_;
  }

  [[nodiscard]] T& operator[](std::uint32_t slot) noexcept { return items_[slot]; }
  [[nodiscard]] const T& operator[](std::uint32_t slot) const noexcept { return items_[slot]; }
  [[nodiscard]] std::uint32_t generation(std::uint32_t slot) const noexcept { return marks_[slot].generation; }
  [[nodiscard]] bool holds(std::uint32_t slot, std::uint32_t generation) const noexcept {
    return slot < touched_ && marks_[slot].next_free == in_use && marks_[slot].generation == generation;
  }
  [[nodiscard]] std::uint32_t used() const noexcept { return used_; }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }

  /// Calls `visit(slot, T&)` for each slot in use; `visit` may release the slot it was given.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (std::uint32_t slot = 0; slot < touched_; ++slot) {
      if (marks_[slot].next_free == in_use) visit(slot, items_[slot]);
    }
  }

  static constexpr std::uint32_t generation_mask = (1U << 24) - 1;

 private:
  static constexpr std::uint32_t in_use = ~std::uint32_t{0};
  struct Mark {
    std::uint32_t next_free;  ///< slot + 1 of the next free one, 0 = none, or in_use
    std::uint32_t generation;
  };
  MappedArray<T> items_;
  MappedArray<Mark> marks_;
  std::uint32_t capacity_;
  std::uint32_t touched_ = 0;
  std::uint32_t used_ = 0;
  std::uint32_t free_head_ = 0;  ///< slot + 1, 0 = none
};

}  // namespace usher
