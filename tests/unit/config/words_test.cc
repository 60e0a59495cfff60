// Durations, sizes, guesses and quotes.
#include "config/words.h"

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <string>

#include "usher/config/units.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

}  // namespace

TEST_CASE("a duration is a whole number and a unit") {
  CHECK(parse_duration("250ms") == Duration(250ms));
  CHECK(parse_duration("2s") == Duration(2s));
  CHECK(parse_duration("10m") == Duration(10min));
  CHECK(parse_duration("1h") == Duration(1h));
  CHECK(parse_duration("5us") == Duration(5us));
  CHECK(parse_duration("0s") == Duration(0));
  CHECK(parse_duration("1000000h") == Duration(1000000h));
  for (const char* wrong : {"", "s", "3", "1.5s", "-1s", "+1s", " 1s", "1 s", "1s ", "1S", "1d", "1ns", "0x1s",
                            "1000001h", "18446744073709551616s", "1m30s"}) {
    INFO(wrong);
    CHECK_FALSE(parse_duration(wrong).has_value());
  }
}

TEST_CASE("a duration prints in the largest unit that says it exactly") {
  CHECK(duration_text(0s) == "0s");
  CHECK(duration_text(90s) == "90s");
  CHECK(duration_text(120s) == "2m");
  CHECK(duration_text(24h) == "24h");
  CHECK(duration_text(1500ms) == "1500ms");
  CHECK(duration_text(7us) == "7us");
  CHECK(duration_text(std::chrono::nanoseconds(7900)) == "7us");
}

TEST_CASE("a size is a number of bytes or a number and a unit") {
  CHECK(parse_size("512") == 512U);
  CHECK(parse_size("0B") == 0U);
  CHECK(parse_size("64KiB") == 65536U);
  CHECK(parse_size("1MiB") == 1048576U);
  CHECK(parse_size("2GiB") == 2147483648U);
  CHECK(parse_size("1TiB") == 1099511627776U);
  CHECK(parse_size("1kB") == 1000U);
  CHECK(parse_size("3MB") == 3000000U);
  for (const char* wrong : {"", "KiB", "-1", "1.5MiB", "64K", "64 KiB", "18446744073709551615", "99999999TiB"}) {
    INFO(wrong);
    CHECK_FALSE(parse_size(wrong).has_value());
  }
  CHECK(parse_size("64K").error().message ==
        "\"64K\" is not a size; expected a number of bytes or a number and a unit, such as \"64KiB\"");
}

TEST_CASE("the distance counts insertions, deletions, replacements and swaps") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("port", "prot") == 1);
  CHECK(edit_distance("weight", "wieght") == 1);
  CHECK(edit_distance("kitten", "sitting") == 3);
}

TEST_CASE("a guess is made when a word is near, and not otherwise") {
  constexpr std::array<std::string_view, 4> words{"round_robin", "random", "least_connections", "maglev"};
  CHECK(nearest("RoundRobin", words) == "round_robin");
  CHECK(nearest("leastconn", words) == "least_connections");
  CHECK(nearest("magelv", words) == "maglev");
  CHECK(nearest("", words).empty());
  CHECK(nearest("zzz", words).empty());
  CHECK(nearest(std::string(100000, 'm'), words).empty());
  CHECK(nearest("maglev", {}).empty());
}

TEST_CASE("quoted text can't move the cursor, and is cut between characters") {
  CHECK(quoted("a\x1b[31m\n\t\x7f") == "\"a\\x1b[31m\\n\\t\\x7f\"");
  CHECK(quoted("\xc2\x9b") == "\"\\x9b\"");
  CHECK(quoted("\xc3\xa4") == "\"\xc3\xa4\"");
  CHECK(quoted(std::string(80, 'a')) == "\"" + std::string(80, 'a') + "\"");
  CHECK(quoted(std::string(81, 'a')) == "\"" + std::string(80, 'a') + "...\"");
  CHECK(quoted(std::string(79, 'a') + "\xc3\xa4") == "\"" + std::string(79, 'a') + "...\"");
  CHECK(ascii("\xff\xc3\xa4z") == "\\xff\\xc3\\xa4z");
}

}  // namespace usher
