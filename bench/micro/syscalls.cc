// What system calls cost on sockets of loopback, beside the same by io_uring. README.md says what is timed.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <utility>

#include "micro.h"
#include "syscalls/conversations.h"
#include "syscalls/door.h"
#include "syscalls/uring.h"
#include "usher/base/clock.h"
#include "usher/base/error.h"
#include "usher/base/fd.h"

namespace {

using namespace usher;
using namespace usher::micro;

constexpr unsigned batch = 32;  ///< calls, or operations that one io_uring_enter(2) takes
using Sockets = std::array<Fd, batch>;

Result<void> nothing() { return {}; }

/// `calls` makes a batch and is timed; `before` and `after` are not. Each answers with what went wrong, so that a refused call is
/// never a fast one.
template <typename Before, typename Calls, typename After>
void measure(benchmark::State& state, Before before, Calls calls, After after) {
  while (state.KeepRunningBatch(batch)) {
    if (const Result<void> ready = before(); !ready) return broken(state, ready.error().message);
    const TimePoint start = Clock::now();
    const Result<void> called = calls();
    const Duration took = Clock::now() - start;
    if (!called) return broken(state, called.error().message);
    if (const Result<void> right = after(); !right) return broken(state, right.error().message);
    state.SetIterationTime(std::chrono::duration<double>(took).count());
  }
}

/// Floors: a call that does nothing, and an entry into a ring that has nothing to do.
void gettid(benchmark::State& state) {
  const long mine = ::syscall(SYS_gettid);
  const auto calls = [&]() -> Result<void> {
    for (unsigned i = 0; i < batch; ++i) {
      if (::syscall(SYS_gettid) != mine) return fail("gettid answered something else");
    }
    return {};
  };
  measure(state, nothing, calls, nothing);
}

void enter(benchmark::State& state, Uring::Descriptor descriptor) {
  Uring ring(descriptor);
  if (!ring.lacks().empty()) return not_here(state, ring.lacks());
  const auto calls = [&]() -> Result<void> {
    for (unsigned i = 0; i < batch; ++i) {
      if (const int status = io_uring_get_events(ring.get()); status < 0) return fail_system("io_uring_enter", -status);
    }
    return {};
  };
  measure(state, nothing, calls, nothing);
}

// ---- Sockets made, closed and set.

Result<void> make(Sockets& sockets) {
  for (Fd& socket : sockets) {
    socket = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!socket) return fail_system("socket");
  }
  return {};
}

Result<void> drop(Sockets& sockets) {
  sockets = Sockets();
  return {};
}

void socket_by_call(benchmark::State& state) {
  Sockets sockets;
  measure(state, nothing, [&] { return make(sockets); }, [&] { return drop(sockets); });
}

void socket_by_ring(benchmark::State& state) {
  Uring ring(Uring::Descriptor::registered);
  if (!ring.lacks().empty()) return not_here(state, ring.lacks());
  Sockets sockets;
  const auto calls = [&]() -> Result<void> {
    for (unsigned i = 0; i < batch; ++i) {
      io_uring_prep_socket(ring.entry(), AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP, 0);
    }
    if (const auto turned = ring.turn(batch); !turned) return turned;
    for (unsigned i = 0; i < batch; ++i) {
      if (ring.result(i) < 0) return fail_system("IORING_OP_SOCKET", -ring.result(i));
      sockets[i] = Fd(ring.result(i));
    }
    return {};
  };
  measure(state, nothing, calls, [&] { return drop(sockets); });
}

/// Numbers of sockets whose closing is measured.
using Numbers = std::array<int, batch>;

Result<void> make(Numbers& numbers) {
  Sockets sockets;
  const auto made = make(sockets);
  if (made) {
    for (unsigned i = 0; i < batch; ++i) numbers[i] = sockets[i].release();
  }
  return made;
}

void close_by_call(benchmark::State& state) {
  Numbers numbers{};
  const auto calls = [&]() -> Result<void> {
    for (const int number : numbers) {
      if (::close(number) != 0) return fail_system("close");
    }
    return {};
  };
  measure(state, [&] { return make(numbers); }, calls, nothing);
}

/// As a worker does it: nobody asks how it went.
void close_by_ring(benchmark::State& state) {
  Uring ring(Uring::Descriptor::registered);
  if (!ring.lacks().empty()) return not_here(state, ring.lacks());
  Numbers numbers{};
  const auto calls = [&]() -> Result<void> {
    for (const int number : numbers) {
      io_uring_sqe* const entry = ring.entry();
      io_uring_prep_close(entry, number);
      io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS);
    }
    return ring.turn(0);  // an error would be an answer
  };
  const auto all_closed = [&]() -> Result<void> {
    for (const int number : numbers) {
      if (::fcntl(number, F_GETFD) != -1 || errno != EBADF) return fail("IORING_OP_CLOSE left a socket open");
    }
    return {};
  };
  measure(state, [&] { return make(numbers); }, calls, all_closed);
}

/// TCP_NODELAY of all of them turned on and off by turns, and looked at after each.
class NoDelay {
 public:
  [[nodiscard]] Result<void> open() { return make(sockets_); }
  [[nodiscard]] const Sockets& sockets() const noexcept { return sockets_; }
  [[nodiscard]] const int& wanted() const noexcept { return wanted_; }
  Result<void> turn_over() {
    wanted_ = 1 - wanted_;
    return {};
  }
  [[nodiscard]] Result<void> check() const {
    for (const Fd& socket : sockets_) {
      int is = -1;
      socklen_t length = sizeof is;
      if (::getsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &is, &length) != 0) return fail_system("getsockopt");
      if ((is != 0) != (wanted_ != 0)) return fail("TCP_NODELAY was set, but isn't");
    }
    return {};
  }

 private:
  Sockets sockets_;
  int wanted_ = 0;
};

void setsockopt_by_call(benchmark::State& state) {
  NoDelay option;
  if (const auto opened = option.open(); !opened) return broken(state, opened.error().message);
  const auto calls = [&]() -> Result<void> {
    for (const Fd& socket : option.sockets()) {
      if (::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &option.wanted(), sizeof(int)) != 0) return fail_system("setsockopt");
    }
    return {};
  };
  measure(state, [&] { return option.turn_over(); }, calls, [&] { return option.check(); });
}

// What liburing 2.3 doesn't know yet: linux/io_uring.h of 6.7. The option's value and length lie where other operations have addr3 and
// file_index, level and name in the two halves of addr.
constexpr unsigned socket_uring_op_setsockopt = 3;

void prepare_setsockopt(io_uring_sqe* entry, int socket, std::uint32_t level, std::uint32_t name, const int* value) {
  io_uring_prep_rw(IORING_OP_URING_CMD, entry, socket, nullptr, 0, 0);
  entry->off = socket_uring_op_setsockopt;
  entry->addr = level | std::uint64_t{name} << 32;
  entry->file_index = sizeof *value;
  entry->addr3 = reinterpret_cast<std::uintptr_t>(value);
}
static_assert(std::endian::native == std::endian::little, "the halves of addr are laid out for that");

void setsockopt_by_ring(benchmark::State& state) {
  Uring ring(Uring::Descriptor::registered);
  if (!ring.lacks().empty()) return not_here(state, ring.lacks());
  NoDelay option;
  if (const auto opened = option.open(); !opened) return broken(state, opened.error().message);
  const auto calls = [&]() -> Result<void> {
    for (const Fd& socket : option.sockets()) {
      prepare_setsockopt(ring.entry(), socket.number(), IPPROTO_TCP, TCP_NODELAY, &option.wanted());
    }
    if (const auto turned = ring.turn(batch); !turned) return turned;
    for (unsigned i = 0; i < batch; ++i) {
      if (ring.result(i) < 0) return fail_system("SOCKET_URING_OP_SETSOCKOPT", -ring.result(i));
    }
    return {};
  };
  // An old kernel says so at the first; that later ones go well is checked.
  const auto first = calls();
  if (!first && (ring.result(0) == -EOPNOTSUPP || ring.result(0) == -EINVAL)) return not_here(state, first.error().message + " (Linux 6.7)");
  measure(state, [&] { return option.turn_over(); }, calls, [&] { return option.check(); });
}

// ---- Connections that wait to be accepted.

void accept_by_call(benchmark::State& state) {
  auto door = Door::open();
  if (!door) return broken(state, door.error().message);
  Sockets accepted;
  const auto calls = [&]() -> Result<void> {
    for (Fd& socket : accepted) {
      auto taken = door->accept();
      if (!taken) return std::unexpected(taken.error());
      socket = std::move(*taken);
    }
    return {};
  };
  measure(state, [&] { return door->fill_queue(batch); }, calls, [&] { return drop(accepted); });
}

enum class Into { descriptors, slots };

/// The operation stands for all batches, as a worker's does; what it has taken when the ring is entered is one batch.
void accept_by_ring(benchmark::State& state, Into into) {
  auto door = Door::open();
  if (!door) return broken(state, door.error().message);
  Uring ring(Uring::Descriptor::registered);
  if (!ring.lacks().empty()) return not_here(state, ring.lacks());
  if (into == Into::slots) {
    const int status = io_uring_register_files_sparse(ring.get(), 2 * batch);
    if (status < 0) return not_here(state, system_error("no table of direct descriptors (Linux 5.19)", -status).message);
    io_uring_prep_multishot_accept_direct(ring.entry(), door->listener().number(), nullptr, nullptr, SOCK_NONBLOCK);
  } else {
    io_uring_prep_multishot_accept(ring.entry(), door->listener().number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  }
  if (const auto armed = ring.turn(0); !armed) return broken(state, armed.error().message);
  Sockets accepted;
  const auto calls = [&]() -> Result<void> {
    if (const auto turned = ring.turn(batch); !turned) return turned;
    for (unsigned i = 0; i < batch; ++i) {
      if (ring.result(i) < 0) return fail_system("multishot accept", -ring.result(i));
      if ((ring.flags(i) & IORING_CQE_F_MORE) == 0) return fail("multishot accept has ended");
      if (into == Into::descriptors) accepted[i] = Fd(ring.result(i));
    }
    return {};
  };
  const auto drop_all = [&]() -> Result<void> {
    if (into == Into::descriptors) return drop(accepted);
    for (unsigned i = 0; i < batch; ++i) {
      const int none = -1;
      const int status = io_uring_register_files_update(ring.get(), static_cast<unsigned>(ring.result(i)), &none, 1);
      if (status != 1) return fail_system("emptying a slot of direct descriptors", -status);
    }
    return {};
  };
  measure(state, [&] { return door->fill_queue(batch); }, calls, drop_all);
}

// ---- Messages of 64 bytes, each on a connection of its own.

void send_64(benchmark::State& state) {
  auto opened = Conversations::open(batch);
  if (!opened) return broken(state, opened.error().message);
  const auto before = [&] {
    const auto asked = opened->ask();
    return asked ? opened->take_questions() : asked;
  };
  measure(state, before, [&] { return opened->answer(); }, [&] { return opened->take_answers(); });
}

using Buffer = std::array<char, 4'096>;

/// Ways to take a message off a socket, and to know whether more waits. False: it went wrong; errno may say how.
bool recv_only(int socket, Buffer& buffer) { return ::recv(socket, buffer.data(), buffer.size(), 0) == Conversations::message_bytes; }

bool recv_dry(int socket, Buffer& buffer) { return ::recv(socket, buffer.data(), buffer.size(), 0) == -1 && errno == EAGAIN; }

bool recv_twice(int socket, Buffer& buffer) { return recv_only(socket, buffer) && recv_dry(socket, buffer); }

bool siocinq(int socket, Buffer&) {
  int waits = -1;
  return ::ioctl(socket, SIOCINQ, &waits) == 0 && waits == 0;
}

bool recv_and_siocinq(int socket, Buffer& buffer) { return recv_only(socket, buffer) && siocinq(socket, buffer); }

bool recvmsg_only(int socket, Buffer& buffer) {
  iovec place{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  return ::recvmsg(socket, &message, 0) == Conversations::message_bytes;
}

bool recvmsg_with_inq(int socket, Buffer& buffer) {
  iovec place{.iov_base = buffer.data(), .iov_len = buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control;
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(socket, &message, 0) != Conversations::message_bytes) return false;
  const cmsghdr* const said = CMSG_FIRSTHDR(&message);
  if (said == nullptr || said->cmsg_level != IPPROTO_TCP || said->cmsg_type != TCP_CM_INQ) return false;
  int waits = -1;
  std::memcpy(&waits, CMSG_DATA(said), sizeof waits);
  return waits == 0;
}

enum class Waits { nothing, message };

void look(benchmark::State& state, bool (*way)(int, Buffer&), Waits waits) {
  auto opened = Conversations::open(batch);
  if (!opened) return broken(state, opened.error().message);
  const int on = 1;
  for (const Fd& socket : opened->near()) {
    if (way == recvmsg_with_inq && ::setsockopt(socket.number(), IPPROTO_TCP, TCP_INQ, &on, sizeof on) != 0) {
      return not_here(state, "no TCP_INQ (Linux 4.18)");
    }
  }
  Buffer buffer;
  const auto calls = [&]() -> Result<void> {
    for (const Fd& socket : opened->near()) {
      if (!way(socket.number(), buffer)) return fail("a call answered something else than it should");
    }
    return {};
  };
  const auto after = [&] {
    if (waits == Waits::nothing) return nothing();
    const auto answered = opened->answer();
    return answered ? opened->take_answers() : answered;
  };
  measure(state, [&] { return waits == Waits::message ? opened->ask() : nothing(); }, calls, after);
}

/// Where making ready takes ten times as long as what is timed: so many, and no one waits for minutes.
constexpr int accepts = 64 * batch;
constexpr int messages = 256 * batch;

const int registered = [] {
  const auto add = [](const char* called, auto&&... what) { return benchmark::RegisterBenchmark(called, what...)->UseManualTime(); };
  add("gettid", gettid);
  add("enter/registered_ring", enter, Uring::Descriptor::registered);
  add("enter/looked_up_ring", enter, Uring::Descriptor::looked_up);
  add("socket/call", socket_by_call);
  add("socket/ring", socket_by_ring);
  add("close/call", close_by_call);
  add("close/ring", close_by_ring);
  add("setsockopt/call", setsockopt_by_call);
  add("setsockopt/ring", setsockopt_by_ring);
  add("accept/call", accept_by_call)->Iterations(accepts);
  add("accept/ring_multishot", accept_by_ring, Into::descriptors)->Iterations(accepts);
  add("accept/ring_multishot_direct", accept_by_ring, Into::slots)->Iterations(accepts);
  add("send/64_bytes", send_64)->Iterations(messages);
  add("receive/recv", look, recv_only, Waits::message)->Iterations(messages);
  add("receive/recv_then_recv", look, recv_twice, Waits::message)->Iterations(messages);
  add("receive/recv_then_siocinq", look, recv_and_siocinq, Waits::message)->Iterations(messages);
  add("receive/recvmsg", look, recvmsg_only, Waits::message)->Iterations(messages);
  add("receive/recvmsg_tcp_inq", look, recvmsg_with_inq, Waits::message)->Iterations(messages);
  add("dry/recv", look, recv_dry, Waits::nothing);
  add("dry/siocinq", look, siocinq, Waits::nothing);
  return 0;
}();

}  // namespace
