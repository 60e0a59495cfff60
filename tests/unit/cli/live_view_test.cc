// The live view: whole frames as text, and that nothing leaves the screen.
#include "cli/live_view.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <sstream>

#include "cli/text.h"

using namespace usher::cli;
using namespace std::chrono_literals;

namespace {

ViewFrame a_moment() {
  ViewFrame frame;
  frame.listener = "http://127.0.0.1:8080/";
  frame.dashboard = "http://127.0.0.1:9900/";
  frame.steering = "kernel hash: no permission";
  frame.running = 72s;
  frame.connections_per_second = 51.4;
  frame.active = 8;
  frame.accepted = 3700;
  frame.requests = 5100;
  frame.errors = 0;
  frame.reconnects = 3;
  frame.p50 = 850us;
  frame.p99 = 33500us;
  frame.backends = {{"one", "up", "", 5, 1500, 25.5, 0},
                    {"two", "down", "killed", 0, 1100, 0, 1},
                    {"three", "up", "slower", 3, 1100, 24.5, 2}};
  frame.events = {"11:00:01  demo     killed two", "11:00:01  flip     app/two down: connect: Connection refused"};
  frame.footer = {"q quits"};
  return frame;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("a frame without colours") {
  CHECK(render_view(a_moment(), {.columns = 90, .rows = 24}) ==
        "usher demo  1:12  http://127.0.0.1:8080/  dashboard http://127.0.0.1:9900/\n"
        "steering: kernel hash: no permission\n"
        "\n"
        "51 connections/s   8 active   3700 accepted\n"
        "5100 requests   0 errors   3 reconnects   p50 850us   p99 33.5ms\n"
        "\n"
        "   backend  health    active                          conn/s     total  flips\n"
        " 1 one      up        ###############              5    25.5      1500      0\n"
        " 2 two      down                                   0     0.0      1100      1  killed\n"
        " 3 three    up        #########                    3    24.5      1100      2  slower\n"
        "\n"
        "11:00:01  demo     killed two\n"
        "11:00:01  flip     app/two down: connect: Connection refused\n"
        "\n"
        "q quits");
}

TEST_CASE("a frame never leaves the screen, however small that is") {
  const std::size_t columns = GENERATE(1, 2, 20, 40, 59, 80, 200);
  const std::size_t rows = GENERATE(1, 3, 10, 13, 14, 24, 60);
  const Glyphs glyphs = GENERATE(Glyphs::ascii, Glyphs::unicode);
  CAPTURE(columns, rows);
  ViewFrame frame = a_moment();
  for (int i = 0; i < 100; ++i) frame.events.push_back("event " + std::string(150, 'x'));
  frame.backends[0].active = 1'000'000;
  const auto lines =
      lines_of(render_view(frame, {.columns = columns, .rows = rows, .colours = Colours::off, .glyphs = glyphs}));
  CHECK(lines.size() <= rows);
  CHECK(std::ranges::all_of(lines, [&](const std::string& line) { return text_width(line) <= columns; }));
}

TEST_CASE("the newest events and the footer stay where the screen is short") {
  ViewFrame frame = a_moment();
  frame.events = {"first", "second", "third"};
  const auto lines = lines_of(render_view(frame, {.columns = 80, .rows = 15}));
  REQUIRE(lines.size() == 15);
  CHECK(lines[11] == "second");
  CHECK(lines[12] == "third");
  CHECK(lines[13].empty());
  CHECK(lines[14] == "q quits");
}

TEST_CASE("colours are escape sequences around the same text, each line ends plain") {
  const ViewStyle plain{.columns = 50, .rows = 24};
  ViewStyle painted = plain;
  painted.colours = Colours::on;
  const std::string text = render_view(a_moment(), painted);
  CHECK(text.find("\x1b[31mdown") != std::string::npos);
  std::string stripped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = text.find('m', i);
      continue;
    }
    stripped += text[i];
  }
  CHECK(stripped == render_view(a_moment(), plain));
  for (const std::string& line : lines_of(text)) {
    const auto last = line.rfind('\x1b');
    if (last != std::string::npos) CHECK(line.substr(last).starts_with("\x1b[0m"));
  }
}

TEST_CASE("an event with an escape sequence shows it rather than obeys") {
  ViewFrame frame = a_moment();
  frame.events = {"\x1b[2Jgone"};
  const std::string text = render_view(frame, {});
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find("?[2Jgone") != std::string::npos);
}

TEST_CASE("the bars grow with the fullest backend, and one connection still shows") {
  ViewFrame frame = a_moment();
  frame.backends = {{"one", "up", "", 1000, 0, 0, 0}, {"two", "up", "", 1, 0, 0, 0}, {"three", "up", "", 0, 0, 0, 0}};
  const auto lines = lines_of(render_view(frame, {.columns = 100, .rows = 24}));
  CHECK(std::ranges::count(lines[7], '#') == 24);
  CHECK(std::ranges::count(lines[8], '#') == 1);
  CHECK(std::ranges::count(lines[9], '#') == 0);
}

TEST_CASE("the same moment as one line") {
  CHECK(render_line(a_moment()) ==
        " 1:12  51 connections/s  8 active  one up 5 two down 0 three up 3  5100 requests  0 errors  p50 850us  p99 "
        "33.5ms");
}

TEST_CASE("text is cut at code points, not in them") {
  CHECK(text_width("aü█") == 3);
  CHECK(text_prefix("aü█", 2) == "aü");
  CHECK(text_prefix("aü█", 9) == "aü█");
  CHECK(text_prefix("", 3).empty());
}
