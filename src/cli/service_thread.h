// ServiceThread: a whole usher in a thread of this process, for the demo.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "usher/base/error.h"
#include "usher/base/fd.h"
#include "usher/config/config.h"
#include "usher/control/service.h"

namespace usher::cli {

/// A resource; one at a time in a process. The destructor drains and waits for the end.
class ServiceThread {
 public:
  /// Returns when it serves, with its admin server; an error is why it doesn't (the reason itself is in the log).
  /// `config` is copied. Signals are the caller's: block them first.
  static Result<std::unique_ptr<ServiceThread>> start(const Config& config, const std::string& config_text);
  ServiceThread(const ServiceThread&) = delete;
  ServiceThread& operator=(const ServiceThread&) = delete;
  ~ServiceThread();

  /// Calls `use` with the service while that exists; false where it is gone.
  bool with_service(const std::function<void(Service&)>& use);

  /// Readable once usher has ended.
  [[nodiscard]] const Fd& ended_event() const noexcept { return ended_event_; }
  /// Asks it to drain, and returns at once.
  void begin_drain();
  /// Waits for the end; run_service's exit status.
  int join();

 private:
  explicit ServiceThread(Fd ended_event) : ended_event_(std::move(ended_event)) {}
  void run(const Config& config, const std::string& config_text);

  Fd ended_event_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Service* service_ = nullptr;  // guarded by mutex_, as the two below
  bool ended_ = false;
  Error start_error_;
  int exit_status_ = 0;  // written before the thread ends
  std::thread thread_;
};

}  // namespace usher::cli
