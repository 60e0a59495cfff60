// The client verbs' requests and answers.
#include "cli/client_verbs.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/tables.h"
#include "cli/text.h"

namespace usher::cli {
namespace {

using Json = nlohmann::json;

/// RFC 3986, 2.1: all but the unreserved, so that no name changes the path's shape.
std::string percent_encoded(std::string_view text) {
  constexpr std::string_view unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string out;
  for (const char c : text) {
    if (unreserved.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

ClientRequest order(const Arguments& arguments, std::string body) {
  return {"POST",
          fmt::format("/api/v1/backends/{}/{}", percent_encoded(arguments.pool), percent_encoded(arguments.backend)),
          std::move(body)};
}

std::string refusal_text(const AdminResponse& response) {
  const Json parsed = Json::parse(response.body, nullptr, false);
  if (parsed.is_object()) {
    if (const auto error = parsed.find("error"); error != parsed.end() && error->is_string())
      return safe_text(error->get<std::string>());
  }
  return fmt::format("refused, with status {} and no reason", response.status);
}

Answer table_answer(const Result<std::string>& table) {
  return table ? Answer{exit_done, *table, ""} : refused(table.error().message);
}

Answer done(const Arguments& arguments, std::string_view what) {
  return {exit_done, fmt::format("{}/{}: {}\n", arguments.pool, arguments.backend, what), ""};
}

std::string sentences(const Json& report, const char* key) {
  std::string lines;
  const auto found = report.find(key);
  if (found == report.end() || !found->is_array()) return lines;
  for (const Json& sentence : *found) {
    if (!sentence.is_string()) continue;
    std::string text = sentence.get<std::string>();
    // A diagnostic is two lines where it has a hint; each is made safe by itself.
    for (std::size_t start = 0; start < text.size();) {
      const std::size_t end = std::min(text.find('\n', start), text.size());
      lines += safe_text(std::string_view(text).substr(start, end - start)) + "\n";
      start = end + 1;
    }
  }
  return lines;
}

Answer reload_answer(const AdminResponse& response) {
  const Json report = Json::parse(response.body, nullptr, false);
  const bool understood = report.is_object() && report.contains("applied") && report["applied"].is_boolean();
  if (!understood) return refused(refusal_text(response));
  if (!report["applied"].get<bool>()) {
    return {exit_refused, "", "usher: the reload was refused, nothing has changed\n" + sentences(report, "problems")};
  }
  const std::string changes = sentences(report, "changes");
  return {exit_done, changes.empty() ? "reloaded: nothing was different\n" : "reloaded\n" + changes,
          sentences(report, "problems")};
}

}  // namespace

ClientRequest client_request(const Arguments& arguments) {
  switch (arguments.verb) {
    case Verb::status:
      return {"GET", "/api/v1/status", ""};
    case Verb::listeners:
      return {"GET", "/api/v1/listeners", ""};
    case Verb::backends:
      return {"GET", "/api/v1/backends", ""};
    case Verb::connections:
      return {"GET", "/api/v1/connections", ""};
    case Verb::events:
      return {"GET", "/api/v1/events", ""};
    case Verb::drain:
      return order(arguments, R"({"state": "drain"})");
    case Verb::enable:
      return order(arguments, R"({"state": "enabled"})");
    case Verb::disable:
      return order(arguments, R"({"state": "disabled"})");
    case Verb::weight:
      return order(arguments, fmt::format(R"({{"weight": {}}})", arguments.weight));
    case Verb::reload:
      return {"POST", "/api/v1/reload", ""};
    case Verb::run:
    case Verb::cleanup:
    case Verb::check:
    case Verb::doctor:
    case Verb::demo:
    case Verb::dsr:
    case Verb::unsupported:
      break;  // required not to come here
  }
  return {};
}

Answer client_answer(const Arguments& arguments, const Result<AdminResponse>& response) {
  if (!response) return refused(response.error().message);
  if (arguments.verb == Verb::reload) return reload_answer(*response);
  if (response->status != 200) return refused(refusal_text(*response));
  if (arguments.output == Output::json) {
    return {exit_done, response->body.ends_with('\n') ? response->body : response->body + "\n", ""};
  }
  switch (arguments.verb) {
    case Verb::status:
      return table_answer(status_table(response->body));
    case Verb::listeners:
      return table_answer(listeners_table(response->body));
    case Verb::backends:
      return table_answer(backends_table(response->body));
    case Verb::connections:
      return table_answer(connections_table(response->body));
    case Verb::events:
      return table_answer(events_table(response->body));
    case Verb::drain:
      return done(arguments, "draining, it gets nothing new");
    case Verb::enable:
      return done(arguments, "enabled");
    case Verb::disable:
      return done(arguments, "disabled, its sessions are closed");
    case Verb::weight:
      return done(arguments, fmt::format("weight {}", arguments.weight));
    case Verb::reload:
    case Verb::run:
    case Verb::cleanup:
    case Verb::check:
    case Verb::doctor:
    case Verb::demo:
    case Verb::dsr:
    case Verb::unsupported:
      break;
  }
  return refused("this verb asks nothing of a running usher");
}

}  // namespace usher::cli
