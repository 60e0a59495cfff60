// Board: bits, room, epoch, the peak-EWMA of latency, and the log of what has fallen.
#include "usher/policy/board.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <set>
#include <thread>
#include <vector>

#include "pool.h"
#include "usher/policy/options.h"

using namespace usher;
using namespace std::chrono_literals;
using Catch::Matchers::WithinRel;

TEST_CASE("nobody is ready on a fresh board, up to the last id") {
  const Board board;
  for (const std::uint32_t number : {0U, 1U, backend_count_max - 1}) {
    CHECK_FALSE(board.ready(BackendId{number}));
    CHECK(board[BackendId{number}].active == 0);
    CHECK(board[BackendId{number}].latency_ns == 0);
  }
}

TEST_CASE("the epoch moves with every change that shows, and only then") {
  Board board;
  const BackendId id{7};
  const std::uint64_t start = board.epoch();
  board.set_enabled(id, false);
  board.set_healthy(id, false);
  CHECK(board.epoch() == start);
  board.set_enabled(id, true);
  CHECK(board.epoch() == start + 1);
  CHECK_FALSE(board.ready(id));
  board.set_healthy(id, true);
  CHECK(board.epoch() == start + 2);
  CHECK(board.ready(id));
  board.set_healthy(id, true);
  CHECK(board.epoch() == start + 2);
  board.set_enabled(id, false);
  CHECK(board.epoch() == start + 3);
  CHECK_FALSE(board.ready(id));
  CHECK(board[id].healthy);
}

TEST_CASE("room ends at max_connections, and 0 means no end") {
  Board board;
  const BackendId id{3};
  board.set_enabled(id, true);
  board.set_healthy(id, true);
  board[id].active = 1'000'000;
  CHECK(board.ready(id));
  board[id].max_connections = 2;
  CHECK_FALSE(board.ready(id));
  board[id].active = 2;
  CHECK_FALSE(board.has_room(id));
  board[id].active = 1;
  CHECK(board.ready(id));
}

TEST_CASE("a latency jumps up at once and decays over ten seconds") {
  Board board;
  const BackendId id{0};
  const TimePoint start = Clock::now();
  const auto known = [&] { return static_cast<double>(board[id].latency_ns.load()); };

  board.note_latency(id, 1ms, start);
  CHECK(known() == 1e6);
  board.note_latency(id, 80ms, start + 1ms);
  CHECK(known() == 80e6);
  CHECK(board[id].latency_at_ns == (start + 1ms).time_since_epoch().count());
  board.note_latency(id, 1ms, start + 1ms);  // no time has passed, so nothing is forgotten
  CHECK(known() == 80e6);
  board.note_latency(id, 1ms, start + 10s + 1ms);  // 1/e of it is left
  CHECK_THAT(known(), WithinRel(80e6 * 0.368 + 1e6 * 0.632, 0.04));
  board.note_latency(id, 1ms, start + 300s);
  CHECK(known() == 1e6);
}

TEST_CASE("a connect that took no time isn't an unknown one, and a clock that stands back forgets nothing") {
  Board board;
  const BackendId id{0};
  const TimePoint start = Clock::now();
  board.note_latency(id, 0ns, start);
  CHECK(board[id].latency_ns == 1);
  board.note_latency(id, 5ms, start);
  board.note_latency(id, 1ms, start - 1s);
  CHECK(board[id].latency_ns == 5'000'000);
}

TEST_CASE("latencies noted by four threads at once stay between the least and the greatest") {
  Board board;
  const BackendId id{0};
  const TimePoint start = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&board, id, start, thread] {
        Rng rng(static_cast<std::uint64_t>(thread));
        for (int note = 0; note < 20'000; ++note) {
          board.note_latency(id, Duration(1'000 + static_cast<Duration::rep>(rng.below(1'000))), start + note * 1ms);
        }
      });
    }
  }
  CHECK(board[id].latency_ns >= 1'000);
  CHECK(board[id].latency_ns < 2'000);
}

TEST_CASE("the board tells of what falls, where a picker watches, and of nothing else") {
  Board board;
  const BackendId id{9};
  const TimePoint start = Clock::now();
  const std::uint64_t end = board.falls().end();
  const auto told = [&] { return board.falls().end() - end; };
  board.enter(id);
  board.leave(id);
  board.note_latency(id, 5ms, start);
  CHECK(told() == 0);
  board.watch(id, Watch::load);
  board.enter(id);
  board.note_latency(id, 1ms, start + 1s);
  CHECK(told() == 0);
  board.leave(id);
  CHECK(told() == 1);
  CHECK(board.falls().at(end) == id);
  board.watch(id, Watch::load_and_latency);
  board.note_latency(id, 1ms, start + 2s);
  CHECK(told() == 2);
  board.note_latency(id, 10ms, start + 3s);  // up
  CHECK(told() == 2);
  board.note_latency(id, 10ms, start + 2s);  // as great, but of an earlier time
  CHECK(told() == 3);
}

TEST_CASE("a limit that changes is a change that shows") {
  Board board;
  const BackendId id{2};
  const std::uint64_t start = board.epoch();
  board.set_max_connections(id, 0);
  CHECK(board.epoch() == start);
  board.set_max_connections(id, 7);
  CHECK(board.epoch() == start + 1);
  CHECK(board[id].max_connections == 7);
}

TEST_CASE("who reads the fall log late learns that something is missing, and never hears what wasn't told") {
  FallLog log;
  const std::uint64_t start = log.end();
  CHECK_FALSE(log.at(start));
  log.tell(BackendId{backend_count_max - 1});
  log.tell(BackendId{0});
  REQUIRE(log.end() == start + 2);
  CHECK(log.at(start) == BackendId{backend_count_max - 1});
  CHECK(log.at(start + 1) == BackendId{0});
  CHECK_FALSE(log.at(start + 2));
  for (std::uint64_t more = 0; more < FallLog::fall_log_size - 2; ++more) log.tell(BackendId{5});
  CHECK(log.at(start));
  log.tell(BackendId{5});
  CHECK_FALSE(log.at(start));
  CHECK(log.at(start + 1) == BackendId{0});
}

TEST_CASE("every algorithm has a name of its own") {
  std::set<std::string_view> names;
  for (const Algorithm algorithm : test::algorithms) names.insert(name(algorithm));
  CHECK(names == std::set<std::string_view>{"round_robin", "random", "two_choices", "least_connections",
                                            "least_latency", "source_hash", "maglev"});
}
