// DemoLoad: the threads that make the gentle load, and their sums.
#include "cli/demo_load.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "cli/demo_client.h"

namespace usher::cli {
namespace {

constexpr unsigned short_threads = 4;
constexpr Duration short_interval =
    std::chrono::nanoseconds(std::chrono::seconds(1)) * short_threads / DemoLoad::short_per_second;
constexpr Duration long_interval = std::chrono::milliseconds(50);  // one request of the long ones in turn
/// Long connections are opened anew after this long, so that a backend that came back gets some of them again.
constexpr Duration long_life = std::chrono::seconds(5);

}  // namespace

Result<std::unique_ptr<DemoLoad>> DemoLoad::start(const Endpoint& server) {
  Fd stop_event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!stop_event) return fail_system("eventfd for the demo's load");
  std::unique_ptr<DemoLoad> made(new DemoLoad(server, std::move(stop_event)));
  for (unsigned i = 0; i < short_threads; ++i)
    made->threads_.emplace_back([load = made.get(), i] { load->send_short(i); });
  made->threads_.emplace_back([load = made.get()] { load->send_long(); });
  return made;
}

void DemoLoad::stop() {
  const std::uint64_t one = 1;
  // It can fail only where the counter is full: then it is readable, which is all that matters.
  [[maybe_unused]] const ssize_t written = ::write(stop_event_.number(), &one, sizeof(one));
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

LoadReport DemoLoad::report() const {
  const std::lock_guard lock(mutex_);
  return report_;
}

void DemoLoad::send_short(unsigned thread) {
  TimePoint next = Clock::now() + short_interval / short_threads * thread;
  DemoClient client(server_, stop_event_);
  while (pause_until(next)) {
    const TimePoint begin = Clock::now();
    const Result<std::string> answer = client.request(Keep::once);
    note(answer, Clock::now() - begin);
    // Where usher was slow, what was missed is left out rather than sent in a burst.
    next = std::max(next + short_interval, Clock::now());
  }
}

void DemoLoad::send_long() {
  struct LongConnection {
    DemoClient client;
    TimePoint opened;
  };
  std::vector<LongConnection> connections;
  for (unsigned i = 0; i < long_connections; ++i)
    connections.push_back({DemoClient(server_, stop_event_), TimePoint()});

  TimePoint next = Clock::now();
  for (std::size_t turn = 0; pause_until(next); ++turn) {
    auto& [client, opened] = connections[turn % connections.size()];
    const TimePoint begin = Clock::now();
    if (client.connected() && begin - opened > long_life) client.close();
    const bool fresh = !client.connected();
    if (fresh) opened = begin;
    Result<std::string> answer = client.request(Keep::alive);
    if (!answer && !fresh && answer.error().code != ECANCELED) {
      // As a browser does: a kept connection may have ended before this request, so it is tried once on a new one.
      note_reconnect();
      opened = Clock::now();
      answer = client.request(Keep::alive);
    }
    note(answer, Clock::now() - begin);
    next = std::max(next + long_interval, Clock::now());
  }
}

/// False where the load is to stop.
bool DemoLoad::pause_until(TimePoint at) const {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(at - Clock::now()).count();
    pollfd stop{stop_event_.number(), POLLIN, 0};
    if (::poll(&stop, 1, static_cast<int>(std::max<std::int64_t>(0, left))) > 0) return false;
    if (left <= 0) return true;
  }
}

void DemoLoad::note(const Result<std::string>& answer, Duration took) {
  if (!answer && answer.error().code == ECANCELED) return;
  const std::lock_guard lock(mutex_);
  ++report_.requests;
  if (!answer) {
    ++report_.errors;
    report_.last_error = answer.error().message;
    return;
  }
  report_.latency.add(took);
  if (report_.by_backend.contains(*answer) || report_.by_backend.size() < LoadReport::names_max)
    ++report_.by_backend[*answer];
}

void DemoLoad::note_reconnect() {
  const std::lock_guard lock(mutex_);
  ++report_.reconnects;
}

}  // namespace usher::cli
