// Conversations: what goes to and fro.
#include "syscalls/conversations.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <utility>

#include "usher/base/clock.h"

namespace usher::micro {
namespace {

constexpr Duration arrival_patience = std::chrono::seconds(1);

Result<void> send_by_each(std::span<const Fd> sockets) {
  constexpr std::array<char, Conversations::message_bytes> message{};
  for (const Fd& socket : sockets) {
    const ssize_t sent = ::send(socket.number(), message.data(), message.size(), MSG_NOSIGNAL);
    if (sent < 0) return fail_system("send");
    if (sent != ssize_t{message.size()}) return fail("a part of 64 bytes was sent");
  }
  return {};
}

Result<void> take_by_each(std::span<const Fd> sockets) {
  std::array<char, 2 * Conversations::message_bytes> buffer;
  for (const Fd& socket : sockets) {
    const ssize_t got = ::recv(socket.number(), buffer.data(), buffer.size(), 0);
    if (got < 0) return fail_system("recv");
    if (got != ssize_t{Conversations::message_bytes}) return fail("another message came than was sent");
  }
  return {};
}

Result<void> wait_for_each(std::span<const Fd> sockets) {
  const TimePoint until = Clock::now() + arrival_patience;
  for (const Fd& socket : sockets) {
    for (int waits = 0; waits != int{Conversations::message_bytes};) {
      if (::ioctl(socket.number(), SIOCINQ, &waits) != 0) return fail_system("SIOCINQ");
      if (Clock::now() > until) return fail("a message of 64 bytes didn't come");
    }
  }
  return {};
}

}  // namespace

Result<Conversations> Conversations::open(std::size_t count) {
  auto door = Door::open();
  if (!door) return std::unexpected(door.error());
  if (const auto filled = door->fill_queue(count); !filled) return std::unexpected(filled.error());
  std::vector<Fd> near;
  const int on = 1;
  for (std::size_t i = 0; i < count; ++i) {
    auto accepted = door->accept();
    if (!accepted) return std::unexpected(accepted.error());
    if (::setsockopt(accepted->number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) return fail_system("TCP_NODELAY");
    near.push_back(std::move(*accepted));
  }
  return Conversations(std::move(*door), std::move(near));
}

Result<void> Conversations::ask() {
  const auto sent = send_by_each(door_.clients());
  return sent ? wait_for_each(near_) : sent;
}

Result<void> Conversations::take_questions() { return take_by_each(near_); }

Result<void> Conversations::answer() { return send_by_each(near_); }

Result<void> Conversations::take_answers() {
  const auto come = wait_for_each(door_.clients());
  return come ? take_by_each(door_.clients()) : come;
}

}  // namespace usher::micro
