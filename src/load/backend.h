// TestBackend: one thread of a test backend: a ring, its listening sockets and its sessions.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "usher/base/error.h"
#include "usher/base/fd.h"
#include "usher/base/mapped_array.h"
#include "usher/load/plan.h"
#include "usher/load/serve_run.h"
#include "usher/ring/ring.h"

namespace usher::load {

/// What a backend's thread and the one that started it share.
struct BackendWindow {
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> accepted = 0, open = 0, requests = 0, bytes_sent = 0, bytes_received = 0, refused = 0,
                             shed = 0;
};

/// Not thread safe: opened and run by one thread.
class TestBackend {
 public:
  TestBackend(const ServePlan& plan, std::vector<Fd> listeners, BackendWindow& window);
  Result<void> open();
  Result<void> run();

 private:
  /// What a session holds of unread bytes: an HTTP head, or the first bytes of an answer request.
  static constexpr std::size_t inbox_bytes = 8 * 1024;
  static constexpr std::size_t echo_bytes = 64 * 1024;

  enum class Phase : std::uint8_t { open, finishing, closing };  ///< finishing: our FIN is out, the peer's is awaited
  struct Guest {
    Fd socket;
    std::uint64_t owed = 0;      ///< bytes of answers that still have to be sent
    std::uint64_t skipped = 0;   ///< bytes of a request's body that still come
    std::uint64_t promised = 0;  ///< answer: owed when the request is whole
    std::uint32_t inbox_used = 0;
    std::uint32_t head_left =
        0;  ///< http: bytes in `outbox` that still have to be sent: a head, and a body that fits behind it
    std::uint16_t in_flight = 0;
    Phase phase = Phase::open;
    bool sending = false;
    bool receiving = false;
    bool last = false;  ///< nothing more is answered
  };

  // backend.cc
  void accept_all();
  void reap(TimePoint now);
  void on_accepted(std::uint32_t listener, const Completion& answer, TimePoint now);
  void on_sent(std::uint32_t slot, int result);
  void on_received(std::uint32_t slot, const Completion& answer);
  void take(std::uint32_t slot, std::span<const std::byte> bytes);
  void arm_receive(std::uint32_t slot);
  void send_owed(std::uint32_t slot);
  void end(std::uint32_t slot);
  void publish();

  // backend_protocols.cc
  void take_answer_requests(std::uint32_t slot, std::span<const std::byte> bytes);
  void take_http_requests(std::uint32_t slot, std::span<const std::byte> bytes);
  void read_http_inbox(std::uint32_t slot);
  bool answer_http(std::uint32_t slot, std::string_view head);
  void refuse(std::uint32_t slot);

  [[nodiscard]] bool reads_requests() const noexcept {
    return plan_.kind == ServeKind::http || plan_.kind == ServeKind::answer;
  }
  [[nodiscard]] std::span<std::byte> inbox(std::uint32_t slot) noexcept {
    return {&inboxes_[slot * box_bytes_], box_bytes_};
  }
  [[nodiscard]] std::span<char> outbox(std::uint32_t slot) noexcept {
    return {&outboxes_[slot * outbox_bytes], outbox_bytes};
  }
  static constexpr std::size_t outbox_bytes = 1024;

  const ServePlan& plan_;
  std::vector<Fd> listeners_;
  BackendWindow& window_;
  std::unique_ptr<Ring> ring_;
  std::vector<Guest> guests_;
  std::vector<std::uint32_t> vacant_;
  std::size_t box_bytes_;
  MappedArray<std::byte> inboxes_;
  MappedArray<char> outboxes_;
  std::vector<std::byte> filler_;
  std::vector<std::byte> drop_;
  std::vector<std::uint8_t> accepting_;  ///< by listener
  TimePoint accept_again_{};
  ServeCounts counts_;
};

}  // namespace usher::load
