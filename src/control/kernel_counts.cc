// KernelCounts: readings in, sums out.
#include "control/kernel_counts.h"

#include <algorithm>
#include <set>
#include <utility>

#include "usher/base/log.h"

namespace usher {
namespace {

static_assert(KernelTotals::bucket_count == PATH_RTT_BUCKETS, "the histogram's buckets are the program's");

/// What came since. Less than before: the map is a new one, and all that it has came since.
std::uint64_t since(std::uint64_t seen, std::uint64_t now) { return now < seen ? now : now - seen; }

void add_since(KernelTotals& sums, const PathCounts& seen, const PathCounts& now) {
  sums.tried += since(seen.tried, now.tried);
  sums.established += since(seen.established, now.established);
  sums.refused += since(seen.refused, now.refused);
  sums.syn_retransmits += since(seen.syn_retransmits, now.syn_retransmits);
  sums.retransmits += since(seen.retransmits, now.retransmits);
  sums.resets += since(seen.resets, now.resets);
  sums.packets_in += since(seen.packets_in, now.packets_in);
  sums.bytes_in += since(seen.bytes_in, now.bytes_in);
  sums.packets_out += since(seen.packets_out, now.packets_out);
  sums.bytes_out += since(seen.bytes_out, now.bytes_out);
  for (std::size_t bucket = 0; bucket < PATH_RTT_BUCKETS; ++bucket) sums.connect[bucket] += since(seen.rtt[bucket], now.rtt[bucket]);
}

std::string label_of(const BackendEntry& entry) { return entry.label() + " " + entry.config.address.text(); }

}  // namespace

void KernelLedger::begin(std::uint32_t number, std::string label, const Reading& reading) {
  rows_[number] = Row{.label = std::move(label),
                      .proxy_seen = reading.proxy.value_or(PathCounts{}),
                      .kernel_seen = reading.kernel.value_or(PathCounts{}),
                      .sums = {}};
}

std::uint64_t KernelLedger::note(std::uint32_t number, const Reading& reading) {
  const auto found = rows_.find(number);
  if (found == rows_.end()) return 0;
  Row& row = found->second;
  std::uint64_t established = 0;
  if (reading.proxy) {
    add_since(row.sums, row.proxy_seen, *reading.proxy);
    row.proxy_seen = *reading.proxy;
  }
  if (reading.kernel) {
    established = since(row.kernel_seen.established, reading.kernel->established);
    add_since(row.sums, row.kernel_seen, *reading.kernel);
    row.kernel_seen = *reading.kernel;
  }
  return established;
}

std::string KernelLedger::label(std::uint32_t number) const {
  const auto row = rows_.find(number);
  return row == rows_.end() ? "" : row->second.label;
}

std::vector<std::uint32_t> KernelLedger::numbers() const {
  std::vector<std::uint32_t> all;
  for (const auto& [number, row] : rows_) all.push_back(number);
  return all;
}

const KernelTotals* KernelLedger::find(std::uint32_t number) const {
  const auto row = rows_.find(number);
  return row == rows_.end() ? nullptr : &row->second.sums;
}

void KernelCounts::count_workers(std::span<const std::uint32_t> thread_ids) {
  if (auto set = pulse_->set_workers(thread_ids); !set) log_warning("control", "kernel counters: {}", set.error().message);
}

KernelLedger::Reading KernelCounts::read(std::uint32_t number) {
  KernelLedger::Reading reading;
  if (pulse_->active()) reading.proxy = pulse_->counts(number);
  if (kernel_.loaded()) reading.kernel = kernel_.counts(BackendId{number}).sums;
  return reading;
}

void KernelCounts::follow(const World& world) {
  counted_ = counted_ || pulse_->active() || kernel_.loaded();
  for (const std::uint32_t number : ledger_.numbers()) {
    const std::uint64_t established = ledger_.note(number, read(number));
    if (const auto listener = alone_.find(pool_of_[number]); listener != alone_.end()) established_[listener->second] += established;
  }
  follow_backends(world);
  follow_listeners(world);
  if (!kernel_.loaded()) return;
  path_counted_ = true;
  const auto verdicts = kernel_.verdicts();
  for (std::size_t i = 0; i < verdicts.size(); ++i) verdicts_[i] += since(verdicts_seen_[i], verdicts[i]);
  verdicts_seen_ = verdicts;
}

void KernelCounts::follow_backends(const World& world) {
  std::vector<PulseBackend> wanted;
  std::set<std::uint32_t> present;
  pool_of_.clear();
  for (const BackendEntry& entry : world.backends()) {
    const std::uint32_t number = entry.id.value;
    present.insert(number);
    pool_of_[number] = entry.pool;
    if (!entry.removed) wanted.push_back(PulseBackend{entry.config.address, number});
    if (ledger_.label(number) != label_of(entry)) ledger_.begin(number, label_of(entry), read(number));
  }
  for (const std::uint32_t number : ledger_.numbers()) {
    if (!present.contains(number)) ledger_.forget(number);
  }
  const auto same = [](const PulseBackend& a, const PulseBackend& b) { return a.address == b.address && a.number == b.number; };
  if (std::ranges::equal(wanted, told_, same)) return;
  if (auto set = pulse_->set_backends(wanted)) {
    told_ = std::move(wanted);
    complained_.clear();
  } else if (complained_ != set.error().message) {  // once: it is tried again each time
    complained_ = set.error().message;
    log_warning("control", "kernel counters: {}", complained_);
  }
}

void KernelCounts::follow_listeners(const World& world) {
  std::map<std::string, std::vector<std::string>> served;  // pool -> listeners
  for (const ListenerEntry& entry : world.listeners()) {
    if (entry.removed || kernel_.choice(entry.config.name).taken != Datapath::kernel) continue;
    served[entry.config.pool].push_back(entry.config.name);
  }
  alone_.clear();
  listeners_.clear();
  for (const auto& [pool, names] : served) {
    if (names.size() == 1) alone_[pool] = names.front();
  }
  for (const auto& [pool, listener] : alone_) {
    KernelListenerTotals totals{.accepted = established_[listener], .active = 0};
    for (const auto& [number, name] : pool_of_) {
      if (name == pool) totals.active += kernel_.counts(BackendId{number}).active;
    }
    listeners_.emplace(listener, totals);
  }
  std::erase_if(established_, [&](const auto& known) {
    const auto is_it = [&](const ListenerEntry& entry) { return !entry.removed && entry.config.name == known.first; };
    return std::ranges::none_of(world.listeners(), is_it);
  });
}

std::optional<KernelTotals> KernelCounts::of(BackendId backend) const {
  const KernelTotals* sums = ledger_.find(backend.value);
  if (!counted_ || sums == nullptr) return std::nullopt;
  KernelTotals totals = *sums;
  totals.flows = kernel_.counts(backend).active;
  return totals;
}

std::optional<KernelListenerTotals> KernelCounts::of_listener(const std::string& listener) const {
  const auto known = listeners_.find(listener);
  return known == listeners_.end() ? std::nullopt : std::optional(known->second);
}

void KernelCounts::describe_path(Totals& totals) const {
  if (!path_counted_) return;
  totals.kernel_path = KernelPathTotals{.flows = kernel_.flows(), .half_open = kernel_.half_open(), .verdicts = {}};
  for (std::size_t i = 0; i < verdicts_.size(); ++i) {
    totals.kernel_path->verdicts.emplace_back(name(static_cast<PathVerdict>(i)), verdicts_[i]);
  }
}

}  // namespace usher
