// TimerWheel: six levels of 64 buckets, the first of one tick each, every further one 64 times as coarse.
#include "usher/base/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace usher {

TimerWheel::TimerWheel(std::uint32_t slot_count, TimePoint now) : nodes_(slot_count), now_tick_(tick_of(now)) {}

void TimerWheel::link(std::uint32_t slot) noexcept {
  Node& node = nodes_[slot];
  unsigned bucket = due_bucket;
  if (node.due_tick > now_tick_) {
    // The level is where the deadline and now first differ; what is further off than the wheel spans waits at its rim.
    const std::uint64_t span_ticks = (std::uint64_t{1} << (level_bits * level_count)) - 1;
    const std::uint64_t at = std::min(node.due_tick, now_tick_ | span_ticks);
    const std::uint64_t differs = at ^ now_tick_;
    const unsigned level = differs == 0 ? 0 : static_cast<unsigned>(std::bit_width(differs) - 1) / level_bits;
    const auto index = static_cast<unsigned>(at >> (level * level_bits)) % buckets_per_level;
    occupied_[level] |= std::uint64_t{1} << index;
    bucket = 1 + level * buckets_per_level + index;
  }
  node.bucket = bucket;
  node.prev = 0;
  node.next = heads_[bucket];
  if (node.next != 0) nodes_[node.next - 1].prev = slot + 1;
  heads_[bucket] = slot + 1;
}

void TimerWheel::set(std::uint32_t slot, TimePoint due) noexcept {
  clear(slot);
  // Rounded up: never early. A deadline in the past is due at the next tick.
  nodes_[slot].due_tick = std::max(tick_of(due) + 1, now_tick_ + 1);
  link(slot);
  ++size_;
}

void TimerWheel::clear(std::uint32_t slot) noexcept {
  Node& node = nodes_[slot];
  if (node.bucket == 0) return;
  if (node.prev != 0) {
    nodes_[node.prev - 1].next = node.next;
  } else {
    heads_[node.bucket] = node.next;
    if (node.next == 0 && node.bucket != due_bucket) {
      const unsigned place = node.bucket - 1;
      occupied_[place / buckets_per_level] &= ~(std::uint64_t{1} << (place % buckets_per_level));
    }
  }
  if (node.next != 0) nodes_[node.next - 1].prev = node.prev;
  node.bucket = 0;
  --size_;
}

std::uint64_t TimerWheel::next_stop(std::uint64_t limit) const noexcept {
  // Within a level only buckets after the present index are occupied: anything nearer lives a level below. So the first
  // occupied bucket of the lowest occupied level is the next one.
  for (unsigned level = 0; level < level_count; ++level) {
    if (occupied_[level] == 0) continue;
    const unsigned shift = level * level_bits;
    const auto index = static_cast<std::uint64_t>(std::countr_zero(occupied_[level]));
    const std::uint64_t window = now_tick_ >> (shift + level_bits) << (shift + level_bits);
    return std::min(limit, window + (index << shift));
  }
  
  return limit;
}

void TimerWheel::step_to(std::uint64_t to) noexcept {
  const std::uint64_t before = now_tick_;
  now_tick_ = to;
  for (unsigned level = level_count; level-- > 0;) {
    const unsigned shift = level * level_bits;
    if (level > 0 && (before >> shift) == (to >> shift)) continue;
    const auto index = static_cast<unsigned>(to >> shift) % buckets_per_level;
    if ((occupied_[level] & (std::uint64_t{1} << index)) == 0) continue;
    occupied_[level] &= ~(std::uint64_t{1} << index);
    const unsigned bucket = 1 + level * buckets_per_level + index;
    std::uint32_t head = heads_[bucket];
    heads_[bucket] = 0;
    while (head != 0) {
      const std::uint32_t slot = head - 1;
      head = nodes_[slot].next;
      link(slot);
    }
  }
}

std::optional<TimePoint> TimerWheel::next_due() const noexcept {
  if (size_ == 0) return std::nullopt;
  const std::uint64_t stop = heads_[due_bucket] != 0 ? now_tick_ : next_stop(~std::uint64_t{0});
  return TimePoint(Duration(static_cast<std::int64_t>(stop << 23)));
}

}  // namespace usher
