// Worker: the thread, and the way to reach it.
#include "usher/worker/worker.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <thread>

#include <fmt/format.h>

#include "worker/loop.h"
#include "worker/mailbox.h"

namespace usher {
namespace {

constexpr std::uint32_t ring_entries = 1024;

}  // namespace

struct Worker::Room {
  explicit Room(Fd wake) : mailbox(std::move(wake)) {}
  Mailbox mailbox;
  std::atomic<bool> finished{false};
  std::uint32_t thread_id = 0;  ///< written before start() returns
  std::thread thread;
};

Worker::Worker(std::unique_ptr<Room> room) noexcept : room_(std::move(room)) {}

Result<std::unique_ptr<Worker>> Worker::start(const WorkerOptions& options, Shared& shared, Sheet& sheet) {
  Fd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake) return fail_system("eventfd");
  auto room = std::make_unique<Room>(std::move(wake));
  std::promise<Result<void>> built;
  auto standing = built.get_future();
  Room* const mine = room.get();
  room->thread = std::thread([mine, options, &shared, &sheet, &built] {
    // Signals are control's.
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    ::pthread_setname_np(::pthread_self(), fmt::format("worker-{}", options.index).c_str());
    mine->thread_id = static_cast<std::uint32_t>(::gettid());
    // A ring belongs to the thread that made it (IORING_SETUP_SINGLE_ISSUER).
    auto ring = Ring::create(ring_entries);
    if (!ring) {
      built.set_value(std::unexpected(ring.error()));
      return;
    }
    {
      Loop loop(options, shared, sheet, mine->mailbox, std::move(*ring));
      built.set_value({});
      loop.run();
    }
    mine->finished.store(true, std::memory_order_release);
  });
  if (auto result = standing.get(); !result) {
    room->thread.join();
    return std::unexpected(result.error());
  }
  return std::unique_ptr<Worker>(new Worker(std::move(room)));
}

Worker::~Worker() {
  drain(TimePoint{});
  room_->thread.join();
}

void Worker::publish(std::shared_ptr<const Snapshot> snapshot) {
  room_->mailbox.send([&](Mail& mail) { mail.snapshot = std::move(snapshot); });
}

void Worker::close_backend(BackendId backend) {
  room_->mailbox.send([&](Mail& mail) { mail.backends_to_close.push_back(backend); });
}

void Worker::drain(TimePoint deadline) {
  room_->mailbox.send([&](Mail& mail) { mail.drain_deadline = std::min(mail.drain_deadline.value_or(deadline), deadline); });
}

bool Worker::finished() const noexcept { return room_->finished.load(std::memory_order_acquire); }

std::uint32_t Worker::thread_id() const noexcept { return room_->thread_id; }

void Worker::poke() { room_->mailbox.wake(); }

std::vector<SessionRow> Worker::inspect(std::size_t max, Duration patience) {
  auto inspection = std::make_shared<Inspection>();
  inspection->max = max;
  inspection->rows.reserve(max);
  if (finished()) return {};
  room_->mailbox.send([&](Mail& mail) { mail.inspections.push_back(inspection); });
  if (!room_->mailbox.await(inspection, patience)) return {};
  return std::move(inspection->rows);
}

}  // namespace usher
