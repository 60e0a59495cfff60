// Errors: their texts and codes.
#include "usher/base/error.h"

#include <catch2/catch_test_macros.hpp>

using namespace usher;

TEST_CASE("a system error says what was tried and what the kernel answered, and keeps the code") {
  const Error error = system_error("connect to 127.0.0.1:1", ECONNREFUSED);
  CHECK(error.message == "connect to 127.0.0.1:1: Connection refused");
  CHECK(error.code == ECONNREFUSED);
}

TEST_CASE("without a code, errno as it is now is meant") {
  errno = EMFILE;
  const Error error = system_error("accept");
  CHECK(error.code == EMFILE);
  CHECK(error.message == "accept: Too many open files");
}

TEST_CASE("an errno has its symbolic name, and an unknown one its number") {
  CHECK(errno_name(ECONNRESET) == "ECONNRESET");
  CHECK(errno_name(EAGAIN) == "EAGAIN");
  CHECK(errno_name(99'999) == "errno 99999");
  CHECK(system_error("x", 99'999).message == "x: errno 99999");
}

TEST_CASE("fail and fail_system become a Result of any type") {
  const Result<int> plain = fail("no such thing");
  REQUIRE_FALSE(plain.has_value());
  CHECK(plain.error() == Error{"no such thing", 0});
  const Result<std::string> system = fail_system("open", ENOENT);
  REQUIRE_FALSE(system.has_value());
  CHECK(system.error() == Error{"open: No such file or directory", ENOENT});
}
