// PipePool: who holds what, large pipes as far as there are any, and none lost.
#include "usher/relay/pipe_pool.h"

#include <unistd.h>

#include <string>

#include <catch2/catch_test_macros.hpp>

using namespace usher;

TEST_CASE("no more pipes than were allowed, and what comes back is leased again") {
  PipePool pipes(2, 0);
  const PipeId first = pipes.lease(PipeSize::usual);
  const PipeId second = pipes.lease(PipeSize::large);
  REQUIRE(first != PipeId::none);
  REQUIRE(second != PipeId::none);
  CHECK(pipes.capacity(second) < large_pipe_bytes);  // none may be large here
  CHECK(pipes.lease(PipeSize::usual) == PipeId::none);
  pipes.give_back(first);
  CHECK(pipes.lease(PipeSize::large) == first);
  CHECK(pipes.open() == 2);
  CHECK(pipes.leased() == 2);
}

TEST_CASE("a wish for a large pipe is granted as often as allowed, and the same pipe again") {
  PipePool pipes(4, 1);
  const PipeId usual = pipes.lease(PipeSize::usual);
  const PipeId large = pipes.lease(PipeSize::large);
  REQUIRE(large != PipeId::none);
  if (pipes.capacity(large) < large_pipe_bytes) SKIP("the kernel makes no large pipe for this user (fs.pipe-user-pages-soft)");
  const PipeId another = pipes.lease(PipeSize::large);
  CHECK(pipes.capacity(another) < large_pipe_bytes);
  pipes.give_back(usual);
  pipes.give_back(another);
  pipes.give_back(large);
  CHECK(pipes.lease(PipeSize::large) == large);
  // The large one is kept for bulk as long as there are others, and used when there are not.
  CHECK(pipes.lease(PipeSize::usual) != large);
}

TEST_CASE("who wants any pipe gets the large one when no other is left") {
  PipePool pipes(1, 1);
  const PipeId large = pipes.lease(PipeSize::large);
  pipes.give_back(large);
  CHECK(pipes.lease(PipeSize::usual) == large);
  CHECK(pipes.lease(PipeSize::usual) == PipeId::none);
}

TEST_CASE("a pipe that still holds bytes is closed, and a new one is empty") {
  PipePool pipes(1, 1);
  const PipeId full = pipes.lease(PipeSize::large);
  REQUIRE(::write(pipes.write_end(full).number(), "rest", 4) == 4);
  pipes.scrap(full);
  CHECK(pipes.open() == 0);
  const PipeId fresh = pipes.lease(PipeSize::large);
  REQUIRE(fresh != PipeId::none);
  char byte = 0;
  CHECK(::read(pipes.read_end(fresh).number(), &byte, 1) == -1);
  // An empty pipe takes as much as its capacity says: what rests of a copy relies on it.
  const std::string block(pipes.capacity(fresh), 'x');
  CHECK(::write(pipes.write_end(fresh).number(), block.data(), block.size()) == static_cast<ssize_t>(block.size()));
}
