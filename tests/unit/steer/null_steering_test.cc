// Without eBPF: the null object serves every call, and says why it is there.
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <set>
#include <string>

#include "listeners.h"
#include "usher/steer/abi.h"

namespace usher {
namespace {

/// What make_steering(2)->describe() answers in a process of our own that has dropped every capability.
std::string describe_without_privilege() {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> none{};
    std::string text = "capset failed";
    if (::syscall(SYS_capset, &header, none.data()) == 0) text = make_steering(2)->describe();
    const bool told = ::write(writer.number(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(told ? 0 : 1);
  }
  writer.reset();
  std::string text;
  std::array<char, 512> piece{};
  for (ssize_t n = 0; (n = ::read(reader.number(), piece.data(), piece.size())) > 0;) text.append(piece.data(), n);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  return text;
}

TEST_CASE("without eBPF every call works and the reason is given") {
  const auto steering = make_null_steering(2, "switched off");
  CHECK_FALSE(steering->active());
  CHECK(steering->describe() == "kernel hash: switched off");
  CHECK(steering->counts() == SteeringCounts{});
  CHECK(steering->steered_to(0) == 0);

  std::set<std::atomic<std::uint32_t>*> words;
  for (const std::uint32_t worker : {0U, 1U, 2U}) {
    REQUIRE(steering->worker_load(worker) != nullptr);
    words.insert(steering->worker_load(worker));
  }
  CHECK(words.size() == 3);
  CHECK(steering->worker_load(7) == steering->worker_load(2));  // beyond the workers: one word that nobody reads
  steering->worker_load(1)->store(5);
  CHECK(steering->worker_load(0)->load() == 0);
  CHECK(steering->worker_load(1)->load() == 5);
}

TEST_CASE("without eBPF the kernel's hash serves the group") {
  Listeners listeners(AF_INET, 2);
  const auto steering = make_null_steering(2, "switched off");
  const auto group = steering->attach(listeners.all());
  REQUIRE(group.has_value());
  listeners.connect_many(200);
  const auto accepted = listeners.accept_all(200);
  CHECK(sum(accepted) == 200);
  CHECK(accepted[0] > 20);
  CHECK(accepted[1] > 20);
}

TEST_CASE("one worker needs no program, and too many can't have one") {
  CHECK(make_steering(1)->describe() == "kernel hash: a single worker has nobody to share with");
  CHECK(make_steering(STEER_WORKERS_MAX + 1)->describe() == "kernel hash: 129 workers, and eBPF steers at most 128");
  CHECK(make_steering(0)->worker_load(0) != nullptr);
}

TEST_CASE("a process without privilege is told which capabilities it lacks") {
  const std::string text = describe_without_privilege();
  if (text.find("built without eBPF") != std::string::npos) SKIP(text);
  CHECK(text == "kernel hash: loading refused: Operation not permitted; needs CAP_BPF");
}

}  // namespace
}  // namespace usher
