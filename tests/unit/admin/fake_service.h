// FakeService: a Service with one listener and three backends, that remembers what it was asked. Thread safe.
#pragma once

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "usher/control/service.h"

namespace usher::testing {

class FakeService final : public Service {
 public:
  FakeService() {
    for (const auto& [pool, name] : {std::pair{"app", "a"}, std::pair{"app", "b"}, std::pair{"db", "main"}}) {
      BackendReport backend;
      backend.pool = pool;
      backend.name = name;
      backend.address = "10.0.0.1:80";
      backend.health = "up";
      backend.ready = true;
      backend.weight = 100;
      backend.totals.name = name;
      backends_.push_back(backend);
    }
  }

  StatusReport status() override {
    const std::scoped_lock lock(mutex_);
    if (throwing_) throw std::runtime_error("the fake broke");
    if (busy_) throw ServiceBusy("the fake is busy");
    StatusReport report;
    report.version = "9.9";
    report.pid = 42;
    report.phase = Phase::serving;
    report.started = WallTime(std::chrono::milliseconds(1718098200250));
    report.uptime = std::chrono::milliseconds(1500);
    report.config_file = "/etc/usher/usher.toml";
    report.connections_max = 100000;
    report.backends = 3;
    return report;
  }
  std::vector<ListenerReport> listeners() override {
    ListenerReport report;
    report.name = "web";
    report.bind = {"127.0.0.1:80", "[::1]:80"};
    report.pool = "app";
    report.datapath = "proxy";
    report.totals.accepted = 10;
    report.totals.closed[static_cast<std::size_t>(Outcome::served)] = 9;
    report.totals.duration.buckets[1] = 9;
    report.totals.duration.sum_ns = 2'500'000'000;
    return {report};
  }
  std::vector<BackendReport> backends() override {
    const std::scoped_lock lock(mutex_);
    return backends_;
  }
  std::vector<ConnectionReport> connections(std::size_t max) override {
    ConnectionReport report;
    report.listener = "web";
    report.age = std::chrono::milliseconds(250);
    return std::vector<ConnectionReport>(std::min(max, connection_count), report);
  }
  std::vector<Event> events(std::size_t max) override {
    Event event;
    event.number = 1;
    event.at = WallTime(std::chrono::milliseconds(1718098200250));
    event.kind = "flip";
    event.subject = "app/a";
    return std::vector<Event>(std::min<std::size_t>(max, 5), event);
  }
  std::string config_text() override { return "[global]\nworkers = 2\n"; }
  Totals totals() override {
    Totals totals;
    totals.version = "9.9";
    return totals;
  }
  Result<void> set_intent(const std::string& pool, const std::string& backend, Intent intent) override {
    const std::scoped_lock lock(mutex_);
    if (refusing_) return fail("the fake refuses");
    find(pool, backend).intent = intent;
    return {};
  }
  Result<void> set_weight(const std::string& pool, const std::string& backend, std::uint32_t weight) override {
    const std::scoped_lock lock(mutex_);
    if (refusing_) return fail("the fake refuses");
    find(pool, backend).weight = weight;
    return {};
  }
  ReloadReport reload() override {
    const std::scoped_lock lock(mutex_);
    ++reloads_;
    ReloadReport report;
    report.applied = !refusing_;
    if (refusing_)
      report.problems = {"usher.toml:3:1: error: unknown key 'wieght'"};
    else
      report.changes = {"backend app/a: weight 100 to 50"};
    return report;
  }
  bool ready() override {
    const std::scoped_lock lock(mutex_);
    return ready_;
  }

  void refuse() { set(refusing_, true); }
  void break_down() { set(throwing_, true); }
  void become_busy() { set(busy_, true); }
  void become_unready() { set(ready_, false); }
  void remove(std::size_t index) {
    const std::scoped_lock lock(mutex_);
    backends_[index].removed = true;
  }
  int reloads() {
    const std::scoped_lock lock(mutex_);
    return reloads_;
  }
  static constexpr std::size_t connection_count = 3000;

 private:
  void set(bool& flag, bool value) {
    const std::scoped_lock lock(mutex_);
    flag = value;
  }
  BackendReport& find(const std::string& pool, const std::string& name) {
    for (BackendReport& backend : backends_) {
      if (backend.pool == pool && backend.name == name) return backend;
    }
    throw std::logic_error("asked for a backend that the API should have refused");
  }

  std::mutex mutex_;
  std::vector<BackendReport> backends_;
  bool refusing_ = false, throwing_ = false, busy_ = false, ready_ = true;
  int reloads_ = 0;
};

}  // namespace usher::testing
