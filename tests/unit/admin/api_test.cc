// The API's rules without sockets: routes, methods, tokens, names.
#include "admin/api.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <nlohmann/json.hpp>

#include "fake_service.h"

using namespace usher;
using Catch::Matchers::ContainsSubstring;
using nlohmann::json;

namespace {

const ApiRules over_socket{.door = Door::unix_socket};

ApiRequest asks(std::string method, std::string path, std::string body = "") {
  ApiRequest request;
  request.method = std::move(method);
  request.path = std::move(path);
  request.body = std::move(body);
  return request;
}

std::string error_of(const ApiAnswer& answer) { return json::parse(answer.body).at("error").get<std::string>(); }

}  // namespace

TEST_CASE("a state changes the backend's intent and answers with the backend") {
  testing::FakeService service;
  const ApiAnswer drained =
      answer(asks("POST", "/api/v1/backends/app/b", R"({"state": "drain"})"), over_socket, service);
  CHECK(drained.status == 200);
  CHECK(json::parse(drained.body)["name"] == "b");
  CHECK(json::parse(drained.body)["intent"] == "drain");
  CHECK(service.backends()[1].intent == Intent::drain);
  CHECK(service.backends()[0].intent == Intent::enabled);
  const ApiAnswer weighted = answer(asks("POST", "/api/v1/backends/db/main", R"({"weight": 7})"), over_socket, service);
  CHECK(weighted.status == 200);
  CHECK(service.backends()[2].weight == 7);
}

TEST_CASE("an unknown pool or backend is 404 and names the known ones") {
  testing::FakeService service;
  const auto post = [&](const char* path) {
    return answer(asks("POST", path, R"({"weight": 7})"), over_socket, service);
  };
  CHECK(post("/api/v1/backends/app/zz").status == 404);
  CHECK(error_of(post("/api/v1/backends/app/zz")) == "pool 'app' has no backend 'zz'; it has: a, b");
  CHECK(error_of(post("/api/v1/backends/web/a")) == "there is no pool 'web'; there are: app, db");
  service.remove(0);
  CHECK(error_of(post("/api/v1/backends/app/a")) == "pool 'app' has no backend 'a'; it has: b");
}

TEST_CASE("what the service refuses is 409 with its sentence") {
  testing::FakeService service;
  service.refuse();
  const ApiAnswer refused = answer(asks("POST", "/api/v1/backends/app/a", R"({"weight": 7})"), over_socket, service);
  CHECK(refused.status == 409);
  CHECK(error_of(refused) == "the fake refuses");
  const ApiAnswer reload = answer(asks("POST", "/api/v1/reload"), over_socket, service);
  CHECK(reload.status == 409);
  CHECK(json::parse(reload.body)["problems"].size() == 1);
}

TEST_CASE("what later work will build is 501, what is nowhere 404, what is elsewhere 405") {
  testing::FakeService service;
  for (const auto& [method, path] :
       {std::pair{"PUT", "/api/v1/backends/app/c"}, std::pair{"DELETE", "/api/v1/backends/app/a"},
        std::pair{"POST", "/api/v1/upgrade"}}) {
    const ApiAnswer not_yet = answer(asks(method, path), over_socket, service);
    CHECK(not_yet.status == 501);
    CHECK_THAT(error_of(not_yet), ContainsSubstring("not supported yet"));
  }
  for (const char* path : {"/api/v1/nothing", "/api/v1/backends/", "/api/v1/backends/app", "/api/v1/backends/app/",
                           "/api/v1/backends//a", "/api/v1/backends/app/a/b", ""}) {
    CAPTURE(path);
    CHECK(answer(asks("POST", path), over_socket, service).status == 404);
  }
  const ApiAnswer wrong = answer(asks("POST", "/api/v1/status"), over_socket, service);
  CHECK(wrong.status == 405);
  CHECK(wrong.allow == "GET, HEAD");
  CHECK(answer(asks("GET", "/api/v1/backends/app/a"), over_socket, service).allow == "POST, PUT, DELETE");
  CHECK(answer(asks("GET", "/api/v1/reload"), over_socket, service).allow == "POST");
  CHECK(answer(asks("OPTIONS", "/api/v1/reload"), over_socket, service).status == 405);
  CHECK(answer(asks("HEAD", "/api/v1/status"), over_socket, service).status == 200);
}

TEST_CASE("max bounds the lists, and is a number") {
  testing::FakeService service;
  ApiRequest request = asks("GET", "/api/v1/connections");
  CHECK(json::parse(answer(request, over_socket, service).body)["connections"].size() == 1000);
  request.max = "2500";
  CHECK(json::parse(answer(request, over_socket, service).body)["connections"].size() == 2500);
  for (const char* bad : {"0", "-1", "ten", "1x", "100001", "99999999999999999999"}) {
    request.max = bad;
    CAPTURE(bad);
    CHECK(answer(request, over_socket, service).status == 400);
  }
  request = asks("GET", "/api/v1/events");
  request.max = "2";
  CHECK(json::parse(answer(request, over_socket, service).body)["events"].size() == 2);
}

TEST_CASE("without a token nothing changes over http, and the answer says what to do") {
  testing::FakeService service;
  const ApiRules rules{.door = Door::http, .socket = "/run/usher/admin.sock"};
  ApiRequest request = asks("POST", "/api/v1/reload");
  request.authorization = "Bearer ";
  const ApiAnswer refused = answer(request, rules, service);
  CHECK(refused.status == 403);
  CHECK_THAT(error_of(refused), ContainsSubstring("usher --socket /run/usher/admin.sock"));
  CHECK(service.reloads() == 0);
  CHECK(answer(asks("GET", "/api/v1/status"), rules, service).status == 200);
}

TEST_CASE("with a token, only its bearer changes things over http") {
  testing::FakeService service;
  const ApiRules rules{.door = Door::http, .token = "s3cret"};
  ApiRequest request = asks("POST", "/api/v1/reload");
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Bearer s3cret ",
                            "Bearer S3CRET", "Basic s3cret", "s3cret"}) {
    request.authorization = wrong;
    CAPTURE(wrong);
    const ApiAnswer refused = answer(request, rules, service);
    CHECK(refused.status == 401);
    CHECK(refused.authenticate == "Bearer");
  }
  CHECK(service.reloads() == 0);
  for (const char* right : {"Bearer s3cret", "bearer s3cret"}) {
    request.authorization = right;
    CHECK(answer(request, rules, service).status == 200);
  }
  CHECK(service.reloads() == 2);
}

TEST_CASE("every changing route over http is behind the token") {
  testing::FakeService service;
  const ApiRules rules{.door = Door::http, .token = "s3cret"};
  for (const auto& [method, path] :
       {std::pair{"POST", "/api/v1/reload"}, std::pair{"POST", "/api/v1/upgrade"},
        std::pair{"POST", "/api/v1/backends/app/a"}, std::pair{"PUT", "/api/v1/backends/app/a"},
        std::pair{"DELETE", "/api/v1/backends/app/a"}}) {
    CAPTURE(method, path);
    CHECK(answer(asks(method, path), rules, service).status == 401);
  }
}

TEST_CASE("a loopback address answers to addresses and localhost, not to a rebound name") {
  testing::FakeService service;
  ApiRules rules{.door = Door::http, .token = "s3cret", .names = ApiRules::Names::local_only};
  ApiRequest request = asks("GET", "/api/v1/connections");
  for (const char* local : {"127.0.0.1:9900", "127.0.0.1", "localhost:9900", "LocalHost", "[::1]:9900", "[::1]", ""}) {
    request.host = local;
    CAPTURE(local);
    CHECK(answer(request, rules, service).status == 200);
  }
  for (const char* foreign :
       {"evil.example:9900", "localhost.evil.example", "127.0.0.1.evil.example:9900", "[evil]", "@"}) {
    request.host = foreign;
    CAPTURE(foreign);
    CHECK(answer(request, rules, service).status == 403);
  }
  request.authorization = "Bearer s3cret";
  CHECK(answer(request, rules, service).status == 200);
  request.authorization = "";
  rules.names = ApiRules::Names::any;
  CHECK(answer(request, rules, service).status == 200);
}

TEST_CASE("an empty secret is the same as nothing") {
  CHECK(same_secret("abc", "abc"));
  CHECK(!same_secret("abd", "abc"));
  CHECK(!same_secret("ab", "abc"));
  CHECK(!same_secret("abcabc", "abc"));
  CHECK(!same_secret("", "abc"));
  CHECK(!same_secret("", ""));
}

TEST_CASE("readiness is 503 while the service is not ready; health stays 200") {
  testing::FakeService service;
  CHECK(answer(asks("GET", "/readyz"), over_socket, service).status == 200);
  service.become_unready();
  CHECK(answer(asks("GET", "/readyz"), over_socket, service).status == 503);
  CHECK(answer(asks("GET", "/healthz"), over_socket, service).status == 200);
  CHECK(answer(asks("GET", "/healthz"), over_socket, service).body == "ok\n");
}

TEST_CASE("the page loads nothing from elsewhere and puts no value into markup") {
  testing::FakeService service;
  const ApiAnswer page = answer(asks("GET", "/"), over_socket, service);
  CHECK(page.content_type.starts_with("text/html"));
  CHECK(page.body.starts_with("<!doctype html>"));
  for (const char* foreign :
       {"http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("}) {
    CAPTURE(foreign);
    CHECK(page.body.find(foreign) == std::string::npos);
  }
}
