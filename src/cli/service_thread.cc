// ServiceThread: run_service in a thread of its own, with a way to stop it.
#include "cli/service_thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "usher/admin/server.h"
#include "usher/control/run.h"

namespace usher::cli {
namespace {

/// What run_service keeps until the drain is over: the admin server, and the promise that nobody uses the service
/// later.
struct Lodger {
  std::unique_ptr<AdminServer> admin;
  std::function<void()> leave;
  Lodger(std::unique_ptr<AdminServer> server, std::function<void()> on_leave)
      : admin(std::move(server)), leave(std::move(on_leave)) {}
  Lodger(const Lodger&) = delete;
  Lodger& operator=(const Lodger&) = delete;
  ~Lodger() { leave(); }
};

}  // namespace

Result<std::unique_ptr<ServiceThread>> ServiceThread::start(const Config& config, const std::string& config_text) {
  Fd ended(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!ended) return fail_system("eventfd");
  std::unique_ptr<ServiceThread> made(new ServiceThread(std::move(ended)));
  made->thread_ = std::thread([it = made.get(), config, config_text] { it->run(config, config_text); });
  std::unique_lock lock(made->mutex_);
  made->changed_.wait(lock, [&] { return made->service_ != nullptr || made->ended_; });
  if (made->ended_) {
    const Error why = made->start_error_;
    lock.unlock();  // the destructor joins
    return std::unexpected(why.message.empty() ? Error{"usher could not start", 0} : why);
  }
  return made;
}

ServiceThread::~ServiceThread() {
  begin_drain();
  join();
}

void ServiceThread::run(const Config& config, const std::string& config_text) {
  RunOptions options;
  options.config_text = config_text;
  options.take_signals = false;
  options.on_started = [&](Service& service) -> Result<std::shared_ptr<void>> {
    auto admin = start_admin_server({config.admin.socket, config.admin.http, config.admin.token}, service);
    if (!admin) {
      const std::lock_guard lock(mutex_);
      start_error_ = admin.error();
      return std::unexpected(admin.error());
    }
    auto lodger = std::make_shared<Lodger>(std::move(*admin), [this] {
      const std::lock_guard lock(mutex_);
      service_ = nullptr;
    });
    const std::lock_guard lock(mutex_);
    service_ = &service;
    changed_.notify_all();
    return lodger;
  };
  exit_status_ = run_service(config, options);
  const std::lock_guard lock(mutex_);
  service_ = nullptr;
  ended_ = true;
  changed_.notify_all();
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written =
      ::write(ended_event_.number(), &one, sizeof(one));  // the first write never fails
}

bool ServiceThread::with_service(const std::function<void(Service&)>& use) {
  const std::lock_guard lock(mutex_);
  if (service_ == nullptr) return false;
  try {
    use(*service_);
  } catch (const ServiceBusy&) {
    return false;  // it is ending, or has a lot to do: the next frame asks again
  }
  return true;
}

void ServiceThread::begin_drain() {
  const std::lock_guard lock(mutex_);
  if (!ended_) request_stop();
}

int ServiceThread::join() {
  if (thread_.joinable()) thread_.join();
  return exit_status_;
}

}  // namespace usher::cli
