// Doors: listening sockets, what comes through them, and who is turned away.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "worker/loop.h"

namespace usher {
namespace {

Endpoint peer_of(int fd) noexcept {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  return Endpoint::from(reinterpret_cast<sockaddr*>(&address), length).unmapped();
}

bool matches(const std::vector<Cidr>& blocks, const Endpoint& endpoint) noexcept {
  return std::ranges::any_of(blocks, [&](const Cidr& block) { return block.contains(endpoint); });
}

bool trusted(const ListenerPlan& plan, const Endpoint& peer) noexcept {
  return plan.trusted_proxies.empty() || matches(plan.trusted_proxies, peer);
}

}  // namespace

bool admits(const ListenerPlan& plan, const Endpoint& client) noexcept {
  return !matches(plan.deny, client) && (plan.allow.empty() || matches(plan.allow, client));
}

void Loop::open_door(const std::shared_ptr<const ListenerPlan>& plan, const std::shared_ptr<ListenGroup>& group) noexcept {
  auto free = std::ranges::find_if(doors_, [](const Door& door) { return door.group == nullptr && !door.armed; });
  if (free == doors_.end()) free = doors_.emplace(doors_.end());
  *free = Door{.plan = plan, .group = group, .rests_until = std::nullopt};
  arm(static_cast<std::uint32_t>(free - doors_.begin()));
}

void Loop::arm(std::uint32_t number) noexcept {
  Door& door = doors_[number];
  if (door.group == nullptr || door.leaving || door.armed) return;
  ring_->accept_multishot(door.group->sockets[index_], Tag{Op::accept, Side::client, 0, number}.pack());
  door.armed = true;
}

void Loop::leave(std::uint32_t number) noexcept {
  Door& door = doors_[number];
  if (door.group == nullptr || door.leaving) return;
  door.leaving = true;
  door.rests_until.reset();
  if (door.armed) {
    ring_->cancel(Tag{Op::accept, Side::client, 0, number}.pack(), Tag{Op::cancel, Side::client, 0, ~std::uint32_t{0}}.pack());
  } else {
    close_when_empty(number);
  }
}

/// Closing a listening socket resets what still waits in its queue, so the queue is emptied first.
void Loop::close_when_empty(std::uint32_t number) noexcept {
  Door& door = doors_[number];
  const std::shared_ptr<const ListenerPlan> plan = door.plan;
  Fd& socket = door.group->sockets[index_];
  for (int taken = 0; taken < 65536; ++taken) {
    Fd client(::accept4(socket.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      break;
    }
    admit(*plan, std::move(client));
  }
  socket.reset();
  door = Door{};
}

void Loop::on_accept(std::uint32_t number, const Completion& completion) noexcept {
  Door& door = doors_[number];
  if (completion.result >= 0) {
    const std::shared_ptr<const ListenerPlan>& plan = door.plan;
    admit(*plan, Fd(completion.result));
  }
  if (completion.more) return;
  door.armed = false;
  if (door.leaving) {
    close_when_empty(number);
    return;
  }
  if (completion.result >= 0 || completion.result == -ECONNABORTED || completion.result == -EINTR) {
    arm(number);  // the kernel ends a multishot accept when the completion queue was full
    return;
  }
  // EMFILE, ENFILE, ENOBUFS, ENOMEM: asking again at once would spin. The connection waits in the queue meanwhile.
  sheet_.worker.accept_errors.add();
  door.rests_until = now_ + accept_rest;
}

void Loop::turn_away(const ListenerPlan& plan, Fd client, Outcome outcome) noexcept {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(client.number(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  sheet_.listener(plan.id).closed[static_cast<std::size_t>(outcome)].add();
}

void Loop::admit(const ListenerPlan& plan, Fd client) noexcept {
  ListenerCounters& counters = sheet_.listener(plan.id);
  counters.accepted.add();
  Endpoint peer;
  const PoolPlan& pool = *plans_[plan.id]->pool;  // the one that choose() will ask: a leaving door's plan is an older one
  const bool asks_who = !plan.allow.empty() || !plan.deny.empty() || plan.accept_proxy || pool.keyed ||
                        pool.send_proxy != SendProxy::off;
  if (asks_who) {
    peer = peer_of(client.number());
    if (!peer.set()) return turn_away(plan, std::move(client), Outcome::client_gone);
    const bool welcome = plan.accept_proxy ? trusted(plan, peer) : admits(plan, peer);
    if (!welcome) return turn_away(plan, std::move(client), Outcome::denied);
  }
  std::atomic<std::uint32_t>& here = shared_.listener_sessions[plan.id];
  const bool listener_full = here.fetch_add(1, std::memory_order_relaxed) >= plan.max_connections && plan.max_connections != 0;
  const bool all_full = shared_.sessions.fetch_add(1, std::memory_order_relaxed) >= shared_.sessions_max;
  const auto slot = listener_full || all_full ? std::nullopt : sessions_.acquire();
  if (!slot) {
    here.fetch_sub(1, std::memory_order_relaxed);
    shared_.sessions.fetch_sub(1, std::memory_order_relaxed);
    return turn_away(plan, std::move(client), Outcome::shed);
  }
  Session& session = sessions_[*slot];
  session.listener = plan.id;
  session.peer(Side::client).fd = client.release();
  session.peer(Side::client).writable = true;
  session.peer(Side::client).prompt = true;  // inherited from the listening socket
  session.accepted_at = now_;
  session.active_at = now_;
  counters.active.add();
  poll(*slot, Side::client);
  if (plan.accept_proxy) {
    wheel_.set(*slot, now_ + std::chrono::milliseconds(greeting_timeout_ms));
    return;
  }
  Endpoint destination;
  if (pool.send_proxy != SendProxy::off) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (::getsockname(session.peer(Side::client).fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
      destination = Endpoint::from(reinterpret_cast<sockaddr*>(&address), length).unmapped();
    }
  }
  choose(*slot, peer, destination);
}

}  // namespace usher
