// conf/usher.toml lists every key with its true default, and the examples are valid.
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "usher/config/config.h"

namespace usher {
namespace {

using namespace std::chrono_literals;

const std::string reference_path = USHER_SOURCE_DIR "/conf/usher.toml";

std::string read(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string all_texts(const Parsed& parsed) {
  std::string texts;
  for (const Diagnostic& problem : parsed.problems) texts += problem.text() + "\n";
  return texts;
}

/// The keys of a file as "table.key", those in comments included; "{ a = 1 }" gives "table.key.a" too.
std::set<std::string> keys_of(const std::string& text) {
  const std::regex heading(R"(^(?:# )?\[\[?([a-z_.]+)\]\]?.*)");
  const std::regex key(R"(^(?:# )?([a-z_]+) = (.*))");
  const std::regex inner(R"(([a-z_]+) = )");
  std::set<std::string> keys;
  std::string table;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, heading)) table = match[1].str() + ".";
    if (!std::regex_match(line, match, key)) continue;
    const std::string outer = table + match[1].str();
    const std::string value = match[2].str();
    keys.insert(outer);
    if (!value.starts_with("{")) continue;
    const std::string braces = value.substr(0, value.find('}'));
    for (std::sregex_iterator i(braces.begin(), braces.end(), inner), end; i != end; ++i)
      keys.insert(outer + "." + (*i)[1].str());
  }
  return keys;
}

/// Comments that are keys or headings become real.
std::string uncommented(const std::string& text) {
  const std::regex commented(R"(^# ([a-z_]+ = .*|\[.*))");
  std::string real;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    real += (std::regex_match(line, match, commented) ? match[1].str() : line) + "\n";
  }
  return real;
}

}  // namespace

TEST_CASE("the reference file lists every key that the schema knows") {
  const auto listed = keys_of(read(reference_path));
  const auto known = config_keys();
  CHECK(known.size() > 80);
  for (const std::string& key : known) {
    INFO(key);
    CHECK(listed.contains(key));
  }
}

TEST_CASE("the reference file parses without a problem") {
  const Parsed parsed = load_config(reference_path);
  CHECK(all_texts(parsed).empty());
  CHECK(parsed.config.has_value());
}

TEST_CASE("the defaults that the reference file shows are true") {
  ListenerConfig listener;
  listener.name = "web";
  listener.bind = {*Endpoint::parse("0.0.0.0:80"), *Endpoint::parse("[::]:80")};
  listener.pool = "app";
  BackendConfig backend;
  backend.name = "a";
  backend.address = *Endpoint::parse("127.0.0.1:8000");
  PoolConfig pool;
  pool.name = "app";
  pool.backends = {backend};
  Config expected;
  expected.listeners = {listener};
  expected.pools = {pool};
  const Parsed reference = load_config(reference_path);
  REQUIRE(reference.config.has_value());
  CHECK(*reference.config == expected);

  const Parsed shortest = parse_config(R"(
    [[listener]]
    name = "web"
    bind = ["0.0.0.0:80", "[::]:80"]
    pool = "app"
    [[pool]]
    name = "app"
    [[pool.backend]]
    name = "a"
    address = "127.0.0.1:8000"
  )",
                                       "shortest.toml");
  CHECK(all_texts(shortest).empty());
  REQUIRE(shortest.config.has_value());
  CHECK(*shortest.config == expected);
}

TEST_CASE("what the reference file comments out is known, and either its default or refused as not supported yet") {
  const Parsed parsed = parse_config(uncommented(read(reference_path)), "usher.toml");
  std::set<std::string> refused;
  for (const Diagnostic& problem : parsed.problems) {
    INFO(problem.text());
    const std::string ending = " is not supported yet";
    REQUIRE(problem.message.ends_with(ending));
    refused.insert(problem.message.substr(0, problem.message.size() - ending.size()));
  }
  CHECK(refused == std::set<std::string>{"pool.health.send", "pool.health.expect", "pool.health.role",
                                         "pool.health.password_file", "pool.health.user", "pool.health.database",
                                         "pool.health.command", "[[listener.route]]", "[pool.discovery]",
                                         "[pool.autoscale]"});
}

TEST_CASE("the examples parse without a problem") {
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::directory_iterator(USHER_SOURCE_DIR "/conf/examples")) {
    INFO(entry.path());
    const Parsed parsed = load_config(entry.path());
    CHECK(all_texts(parsed).empty());
    CHECK(parsed.config.has_value());
    seen.insert(entry.path().filename());
  }
  CHECK(seen.contains("python-web.toml"));
  CHECK(seen.contains("postgres-replicas.toml"));
  CHECK(seen.contains("redis.toml"));
}

TEST_CASE("the Python example checks three processes by http") {
  const Parsed parsed = load_config(USHER_SOURCE_DIR "/conf/examples/python-web.toml");
  REQUIRE(parsed.config.has_value());
  const PoolConfig& pool = parsed.config->pools.at(0);
  CHECK(pool.health.type == CheckType::http);
  REQUIRE(pool.backends.size() == 3);
  CHECK(pool.backends[2].address.text() == "127.0.0.1:9003");
}

TEST_CASE("the Postgres example counts the replicas' connections and lets them idle for long") {
  const Parsed parsed = load_config(USHER_SOURCE_DIR "/conf/examples/postgres-replicas.toml");
  REQUIRE(parsed.config.has_value());
  const PoolConfig& replicas = parsed.config->pools.at(1);
  CHECK(replicas.name == "replicas");
  CHECK(replicas.picker.algorithm == Algorithm::least_connections);
  CHECK(replicas.idle_timeout == 24h);
}

}  // namespace usher
