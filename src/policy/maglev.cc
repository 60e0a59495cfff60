// The Maglev table as a plain list.
#include "usher/policy/maglev.h"

#include <algorithm>
#include <numeric>

#include "policy/maglev_table.h"
#include "usher/base/hash.h"

namespace usher {
namespace {

/// In the order that make_picker() gives them, so that proxy and kernel agree.
std::vector<Seat> seats_of(std::span<const Backend> backends, const std::vector<bool>& wanted) {
  std::vector<std::uint32_t> order(backends.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::uint32_t place) { return std::pair(hash_text(backends[place].name), place); });
  std::vector<Seat> seats;
  for (const std::uint32_t place : order) {
    const Backend& backend = backends[place];
    if (backend.weight == 0 || !wanted[place]) continue;
    seats.push_back(Seat{Entry{backend.id, backend.weight, place}, hash_text(backend.name)});
  }
  return seats;
}

}  // namespace

std::vector<std::uint32_t> maglev_slots(std::span<const Backend> backends, const std::vector<bool>& may_serve, std::uint32_t size) {
  const std::vector<Seat> serving = seats_of(backends, may_serve);
  if (serving.empty()) return {};
  const std::vector<Seat> everybody = seats_of(backends, std::vector<bool>(backends.size(), true));
  const MaglevTable whole(everybody, size);
  std::vector<std::uint32_t> slots;
  slots.reserve(whole.slots().size());
  for (const Position position : whole.slots()) slots.push_back(everybody[position].entry.index);
  if (serving.size() == everybody.size()) return slots;
  const MaglevTable rest(serving, size);  // of one slot, where one alone serves
  const std::size_t rest_size = rest.slots().size();
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    if (!may_serve[slots[slot]]) slots[slot] = serving[rest.slots()[slot % rest_size]].entry.index;
  }
  return slots;
}

}  // namespace usher
