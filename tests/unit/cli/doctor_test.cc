// The doctor's words: lines for people, JSON for programs, and the exit status.
#include "cli/doctor.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

using namespace usher;
using namespace usher::cli;

namespace {

const std::vector<Finding> some{
    {.what = "io_uring", .fitness = Fitness::ok, .says = "works", .cure = "", .needed = true},
    {.what = "BPF file system", .fitness = Fitness::missing, .says = "not mounted", .cure = "mount it", .needed = false},
};

}  // namespace

TEST_CASE("doctor: a line a finding, aligned, the cure below") {
  const Answer answer = findings_answer(some, Output::human);
  CHECK(answer.status == exit_done);
  CHECK(answer.out ==
        "ok        io_uring         works\n"
        "missing   BPF file system  not mounted\n"
        "                           cure: mount it\n");
  CHECK(answer.err.empty());
}

TEST_CASE("doctor: what is missing and needed is exit status 1") {
  auto findings = some;
  findings[1].needed = true;
  CHECK(findings_answer(findings, Output::human).status == exit_refused);
  const auto json = nlohmann::json::parse(findings_answer(findings, Output::json).out);
  CHECK(json["fit"] == false);
  CHECK(json["findings"].size() == 2);
  CHECK(json["findings"][1]["state"] == "missing");
  CHECK(json["findings"][1]["cure"] == "mount it");
}

TEST_CASE("doctor: what a name brings doesn't drive the terminal") {
  const Answer answer = findings_answer({{.what = "listener \x1b[2J", .fitness = Fitness::ok, .says = "x\n", .cure = "", .needed = false}}, Output::human);
  CHECK(answer.out.find('\x1b') == std::string::npos);
  CHECK(std::count(answer.out.begin(), answer.out.end(), '\n') == 1);
}
