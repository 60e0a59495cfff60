// Tables and the client verbs: the API's JSON in, text and exit status out.
#include "cli/tables.h"

#include <catch2/catch_test_macros.hpp>

#include "cli/client_verbs.h"
#include "cli/text.h"

using namespace usher::cli;
using usher::AdminResponse;
using usher::Result;

namespace {

const std::string backends_json = R"({"backends": [
  {"pool": "app", "name": "a", "address": "10.0.0.11:8000", "intent": "enabled", "health": "up", "health_reason": "connected",
   "ready": true, "weight": 100, "tier": 0, "active": 12, "connect_latency": 0.00035, "removed": false, "connections": 120934,
   "connect_failures": {"refused": 2, "timeout": 1}, "flips": 0},
  {"pool": "app", "name": "web-2", "address": "[fd00::12]:8000", "intent": "drain", "health": "down",
   "health_reason": "connect: Connection refused", "ready": false, "weight": 50, "tier": 1, "active": 0,
   "connect_latency": null, "removed": false, "connections": 7, "connect_failures": {}, "flips": 3},
  {"pool": "app", "name": "old", "address": "10.0.0.9:8000", "intent": "enabled", "health": "unchecked", "health_reason": "",
   "ready": false, "weight": 100, "tier": 0, "active": 1, "connect_latency": null, "removed": true, "connections": 9,
   "connect_failures": {}, "flips": 0}]})";

Arguments asking(Verb verb) {
  Arguments arguments;
  arguments.verb = verb;
  arguments.pool = "app";
  arguments.backend = "a";
  arguments.weight = 250;
  return arguments;
}

Answer answered(Verb verb, int status, std::string body) {
  return client_answer(asking(verb), AdminResponse{status, std::move(body)});
}

}  // namespace

TEST_CASE("a table is aligned, numbers to the right, with nothing at the end of a line") {
  CHECK(
      render_table({{"NAME"}, {"N", Align::right}, {"WHY"}}, {{"a", "1", "ok"}, {"longer", "1234", ""}, {"ü", "20"}}) ==
      "NAME       N  WHY\n"
      "a          1  ok\n"
      "longer  1234\n"
      "ü         20\n");
  CHECK(render_table({{"NAME"}, {"N", Align::right}}, {}) == "NAME  N\n");
}

TEST_CASE("backends as a table") {
  const auto table = backends_table(backends_json);
  REQUIRE(table);
  CHECK(*table ==
        "BACKEND    ADDRESS          STATE    HEALTH     READY  WEIGHT  TIER  ACTIVE   TOTAL  FAILED  CONNECT  FLIPS  "
        "LAST CHECK\n"
        "app/a      10.0.0.11:8000   enabled  up         yes       100     0      12  120934       3    350us      0  "
        "connected\n"
        "app/web-2  [fd00::12]:8000  drain    down       no         50     1       0       7       0        -      3  "
        "connect: Connection refused\n"
        "app/old    10.0.0.9:8000    removed  unchecked  no        100     0       1       9       0        -      0  "
        "-\n");
}

TEST_CASE("where eBPF counts, backends show their flows and what was sent again; a backend without counts has dashes") {
  const auto table = backends_table(R"({"backends": [
    {"pool": "app", "name": "a", "kernel": {"flows": 12, "retransmits": 5, "syn_retransmits": 2}, "flips": 0, "health_reason": "connected"},
    {"pool": "app", "name": "b", "kernel": null, "flips": 1, "health_reason": "no"}]})");
  REQUIRE(table);
  CHECK(*table ==
        "BACKEND  ADDRESS  STATE  HEALTH  READY  WEIGHT  TIER  ACTIVE  TOTAL  FAILED  CONNECT  FLIPS  FLOWS  RETRANS  LAST CHECK\n"
        "app/a    -        -      -       -           -     -       -      -       -        -      0     12        7  connected\n"
        "app/b    -        -      -       -           -     -       -      -       -        -      1      -        -  no\n");
}

TEST_CASE("a listener that the kernel serves shows both datapaths' connections") {
  const auto table = listeners_table(R"({"listeners": [{"name": "web", "bind": ["0.0.0.0:80"], "pool": "app", "datapath": "kernel",
    "ready": true, "accepted": 10, "active": 2, "closed": {"served": 8}, "bytes_in": 0, "bytes_out": 0,
    "kernel": {"accepted": 1000, "active": 40}}]})");
  REQUIRE(table);
  CHECK(*table ==
        "LISTENER  BIND        POOL  DATAPATH  READY  ACTIVE  ACCEPTED  CLOSED   IN  OUT\n"
        "web       0.0.0.0:80  app   kernel    yes        42      1010       8  0 B  0 B\n");
}

TEST_CASE("listeners as a table") {
  const auto table = listeners_table(R"({"listeners": [{"name": "web", "bind": ["0.0.0.0:80", "[::]:80"], "pool": "app",
    "datapath": "proxy", "ready": true, "accepted": 10, "active": 2, "closed": {"served": 7, "idle": 1},
    "bytes_in": 1536, "bytes_out": 3221225472}]})");
  REQUIRE(table);
  CHECK(*table ==
        "LISTENER  BIND                 POOL  DATAPATH  READY  ACTIVE  ACCEPTED  CLOSED       IN      OUT\n"
        "web       0.0.0.0:80, [::]:80  app   proxy     yes         2        10       8  1.5 KiB  3.0 GiB\n");
}

TEST_CASE("connections as a table; one that has no backend yet shows none") {
  const auto table = connections_table(R"({"connections": [
    {"worker": 0, "listener": "web", "pool": "app", "backend": "a", "client": "192.0.2.7:5000", "stage": "relaying",
     "age": 3725.5, "idle": 0.25, "bytes_in": 100, "bytes_out": 0},
    {"worker": 1, "listener": "web", "pool": "", "backend": "", "client": "[2001:db8::1]:5000", "stage": "greeting",
     "age": 0.0000001, "idle": 0, "bytes_in": 0, "bytes_out": 0}]})");
  REQUIRE(table);
  CHECK(*table ==
        "CLIENT              LISTENER  BACKEND  STAGE       AGE   IDLE     IN  OUT  WORKER\n"
        "192.0.2.7:5000      web       app/a    relaying  1h 2m  250ms  100 B  0 B       0\n"
        "[2001:db8::1]:5000  web       -        greeting     0s     0s    0 B  0 B       1\n");
}

TEST_CASE("events as a table") {
  const auto table = events_table(R"({"events": [{"number": 1, "at": "2024-06-11T09:30:00.250Z", "kind": "flip",
    "subject": "app/a", "message": "down: connection refused"}, {"number": 2, "at": "2024-06-11T09:30:01.000Z",
    "kind": "start", "subject": "", "message": "usher serves"}]})");
  REQUIRE(table);
  CHECK(*table ==
        "TIME                      KIND   SUBJECT  WHAT\n"
        "2024-06-11T09:30:00.250Z  flip   app/a    down: connection refused\n"
        "2024-06-11T09:30:01.000Z  start  -        usher serves\n");
}

TEST_CASE("status as lines; a refused reload shows") {
  const std::string json = R"({"version": "0.1.0", "pid": 77, "phase": "serving", "started": "2024-06-11T09:30:00.000Z",
    "uptime": 200.0, "config_file": "/etc/usher/usher.toml", "reloaded": null, "last_reload_error": "a.toml:1:1: error: no",
    "workers": 2, "connections_active": 5, "connections_accepted": 50, "connections_max": 100000, "descriptors_open": 30,
    "descriptors_max": 1048576, "steering": "ebpf", "listeners": 1, "pools": 1, "backends": 3, "backends_ready": 2})";
  const auto table = status_table(json);
  REQUIRE(table);
  CHECK(*table ==
        "usher          0.1.0, pid 77, serving\n"
        "up             3m 20s, since 2024-06-11T09:30:00.000Z\n"
        "configuration  /etc/usher/usher.toml\n"
        "reloaded       never\n"
        "last reload    refused: a.toml:1:1: error: no\n"
        "workers        2, steering: ebpf\n"
        "connections    5 active of 100000, 50 accepted\n"
        "descriptors    30 open of 1048576\n"
        "listeners      1\n"
        "backends       2 ready of 3, in 1 pool\n");
}

TEST_CASE("an answer of an unexpected shape is an error, and a missing field a dash") {
  CHECK_FALSE(backends_table("not json"));
  CHECK_FALSE(backends_table(R"({"listeners": []})"));
  CHECK_FALSE(backends_table(R"({"backends": [7]})"));
  CHECK_FALSE(status_table("[]"));
  const auto sparse = events_table(R"({"events": [{"kind": 5}]})");
  REQUIRE(sparse);
  CHECK(*sparse == "TIME  KIND  SUBJECT  WHAT\n-     5     -        -\n");
}

TEST_CASE("a name with control bytes can't drive the terminal") {
  const auto table = events_table(R"({"events": [{"message": "\u001b[31mred\n"}]})");
  REQUIRE(table);
  CHECK(table->find('\x1b') == std::string::npos);
  CHECK(table->find("?[31mred?") != std::string::npos);
}

TEST_CASE("each verb asks what the API knows") {
  const ClientRequest status = client_request(asking(Verb::status));
  CHECK(status.method == "GET");
  CHECK(status.path == "/api/v1/status");
  const ClientRequest drain = client_request(asking(Verb::drain));
  CHECK(drain.method == "POST");
  CHECK(drain.path == "/api/v1/backends/app/a");
  CHECK(drain.body == R"({"state": "drain"})");
  CHECK(client_request(asking(Verb::enable)).body == R"({"state": "enabled"})");
  CHECK(client_request(asking(Verb::disable)).body == R"({"state": "disabled"})");
  CHECK(client_request(asking(Verb::weight)).body == R"({"weight": 250})");
  CHECK(client_request(asking(Verb::reload)).path == "/api/v1/reload");
  Arguments odd = asking(Verb::drain);
  odd.backend = "a b?c%";
  CHECK(client_request(odd).path == "/api/v1/backends/app/a%20b%3Fc%25");
}

TEST_CASE("no answer and a refusal are exit 1 with one line") {
  const Answer nobody = client_answer(asking(Verb::status), usher::fail("no usher answers on /run/usher/admin.sock"));
  CHECK(nobody.status == 1);
  CHECK(nobody.err == "usher: no usher answers on /run/usher/admin.sock\n");
  CHECK(nobody.out.empty());
  const Answer unknown = answered(Verb::drain, 404, R"({"error": "there is no pool 'app'; there are: db"})");
  CHECK(unknown.status == 1);
  CHECK(unknown.err == "usher: there is no pool 'app'; there are: db\n");
  CHECK(answered(Verb::drain, 500, "oops").err == "usher: refused, with status 500 and no reason\n");
  CHECK(answered(Verb::backends, 200, "oops").status == 1);
}

TEST_CASE("--json gives the API's answer as it is") {
  Arguments arguments = asking(Verb::backends);
  arguments.output = Output::json;
  const Answer answer = client_answer(arguments, AdminResponse{200, R"({"backends": []})"});
  CHECK(answer.status == 0);
  CHECK(answer.out == "{\"backends\": []}\n");
}

TEST_CASE("orders say what they did") {
  CHECK(answered(Verb::drain, 200, "{}").out == "app/a: draining, it gets nothing new\n");
  CHECK(answered(Verb::enable, 200, "{}").out == "app/a: enabled\n");
  CHECK(answered(Verb::disable, 200, "{}").out == "app/a: disabled, its sessions are closed\n");
  CHECK(answered(Verb::weight, 200, "{}").out == "app/a: weight 250\n");
}

TEST_CASE("a reload tells its changes, or every problem and exit 1") {
  const Answer applied =
      answered(Verb::reload, 200, R"({"applied": true, "changes": ["backend app/c was added"], "problems": []})");
  CHECK(applied.status == 0);
  CHECK(applied.out == "reloaded\nbackend app/c was added\n");
  CHECK(answered(Verb::reload, 200, R"({"applied": true, "changes": [], "problems": []})").out ==
        "reloaded: nothing was different\n");
  const Answer kept = answered(Verb::reload, 409, R"({"error": "x", "applied": false, "changes": [],
    "problems": ["f:1:2: error: unknown key 'a'\n    hint: b", "f:3:1: error: c"]})");
  CHECK(kept.status == 1);
  CHECK(kept.err ==
        "usher: the reload was refused, nothing has changed\nf:1:2: error: unknown key 'a'\n    hint: b\nf:3:1: error: "
        "c\n");
  CHECK(answered(Verb::reload, 503, R"({"error": "busy"})").err == "usher: busy\n");
}

TEST_CASE("durations and sizes for people") {
  CHECK(duration_text(0) == "0s");
  CHECK(duration_text(-1) == "0s");
  CHECK(duration_text(0.0009999) == "1.0ms");
  CHECK(duration_text(0.0999) == "99.9ms");
  CHECK(duration_text(0.9996) == "1.0s");
  CHECK(duration_text(59.96) == "1m 0s");
  CHECK(duration_text(86400 * 4 + 3600 * 3) == "4d 3h");
  CHECK(size_text(1023) == "1023 B");
  CHECK(size_text(1024) == "1.0 KiB");
  CHECK(size_text(1024 * 1024 - 1) == "1.0 MiB");
  CHECK(size_text(~std::uint64_t{0}) == "16.0 EiB");
}
