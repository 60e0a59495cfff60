// Secrets: what GET /api/v1/config may show.
#include <catch2/catch_test_macros.hpp>

#include "control/secrets.h"

using namespace usher;

TEST_CASE("a token never leaves with the configuration's text") {
  CHECK(without_secret("token = \"s3cret\"\n", "s3cret") == "token = \"(hidden)\"\n");
  CHECK(without_secret("a s3cret and a s3cret", "s3cret") == "a (hidden) and a (hidden)");
  CHECK(without_secret("token = \"s3\\u0063ret\"", "s3cret").find("s3") == std::string::npos);
}

TEST_CASE("without a token the text is shown as it is") { CHECK(without_secret("workers = 2\n", "") == "workers = 2\n"); }
