// The admin API's routes.
#include "admin/api.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "admin/json.h"
#include "admin/page.h"
#include "usher/base/endpoint.h"
#include "usher/metrics/exposition.h"

namespace usher {
namespace {

constexpr std::size_t list_default = 1000;
constexpr std::size_t list_max = 100000;

struct Call {
  const ApiRequest& request;
  Service& service;
  std::string_view pool, backend;  ///< of a path below /api/v1/backends/
};

ApiAnswer json(std::string body) { return {.body = std::move(body)}; }

Result<std::size_t> parse_max(const std::string& text) {
  if (text.empty()) return list_default;
  std::size_t max = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), max);
  if (status != std::errc{} || end != text.data() + text.size() || max == 0 || max > list_max) {
    return fail(fmt::format("max is '{}'; expected a number from 1 to {}", text, list_max));
  }
  return max;
}

ApiAnswer get_status(const Call& call) { return json(to_json(call.service.status())); }
ApiAnswer get_listeners(const Call& call) { return json(to_json(call.service.listeners())); }
ApiAnswer get_backends(const Call& call) { return json(to_json(call.service.backends())); }
ApiAnswer get_config(const Call& call) {
  return json(config_json(call.service.status().config_file, call.service.config_text()));
}
ApiAnswer get_connections(const Call& call) {
  const auto max = parse_max(call.request.max);
  return max ? json(to_json(call.service.connections(*max))) : refusal(400, max.error().message);
}
ApiAnswer get_events(const Call& call) {
  const auto max = parse_max(call.request.max);
  return max ? json(to_json(call.service.events(*max))) : refusal(400, max.error().message);
}
ApiAnswer get_metrics(const Call& call) {
  return {.body = render_prometheus(call.service.totals()), .content_type = "text/plain; version=0.0.4; charset=utf-8"};
}
ApiAnswer get_health(const Call&) { return {.body = "ok\n", .content_type = "text/plain"}; }
ApiAnswer get_ready(const Call& call) {
  if (call.service.ready()) return {.body = "ok\n", .content_type = "text/plain"};
  return {
      .status = 503, .body = "not ready: draining, or a listener has no ready backend\n", .content_type = "text/plain"};
}
ApiAnswer get_page(const Call&) {
  return {.body = std::string(dashboard_page()), .content_type = "text/html; charset=utf-8"};
}

ApiAnswer post_reload(const Call& call) {
  const ReloadReport report = call.service.reload();
  return {.status = report.applied ? 200 : 409, .body = to_json(report)};
}
ApiAnswer not_yet(const Call& call) {
  return refusal(501, fmt::format("{} {} is not supported yet", call.request.method, call.request.path));
}

/// A backend that was removed can't be changed, though its last sessions still show.
const BackendReport* find(const std::vector<BackendReport>& all, std::string_view pool, std::string_view backend) {
  const auto it = std::find_if(all.begin(), all.end(), [&](const BackendReport& report) {
    return !report.removed && report.pool == pool && report.name == backend;
  });
  return it == all.end() ? nullptr : &*it;
}

ApiAnswer unknown(const std::vector<BackendReport>& all, const Call& call) {
  constexpr std::size_t shown_max = 10;
  std::vector<std::string_view> names;
  bool pool_known = false;
  for (const BackendReport& report : all) {
    if (report.removed) continue;
    if (report.pool == call.pool) {
      if (!pool_known) names.clear();
      pool_known = true;
      names.push_back(report.name);
    } else if (!pool_known && std::find(names.begin(), names.end(), report.pool) == names.end()) {
      names.push_back(report.pool);
    }
  }
  const bool more = names.size() > shown_max;
  if (more) names.resize(shown_max);
  const std::string known = names.empty() ? "none" : fmt::format("{}{}", fmt::join(names, ", "), more ? ", ..." : "");
  return refusal(404, pool_known
                          ? fmt::format("pool '{}' has no backend '{}'; it has: {}", call.pool, call.backend, known)
                          : fmt::format("there is no pool '{}'; there are: {}", call.pool, known));
}

ApiAnswer post_backend(const Call& call) {
  const auto change = parse_backend_change(call.request.body);
  if (!change) return refusal(400, change.error().message);
  std::vector<BackendReport> all = call.service.backends();
  if (find(all, call.pool, call.backend) == nullptr) return unknown(all, call);

  const std::string pool(call.pool), backend(call.backend);
  const Intent* intent = std::get_if<Intent>(&*change);
  const Result<void> done = intent != nullptr
                                ? call.service.set_intent(pool, backend, *intent)
                                : call.service.set_weight(pool, backend, std::get<std::uint32_t>(*change));
  if (!done) return refusal(409, done.error().message);
  all = call.service.backends();
  const BackendReport* changed = find(all, call.pool, call.backend);
  return changed != nullptr ? json(to_json(*changed)) : unknown(all, call);  // a reload may have taken it meanwhile
}

enum class Effect { reads, changes };
struct Route {
  std::string_view method;
  std::string_view path;  ///< one that ends in '/' and is longer takes POOL/NAME behind it
  Effect effect;
  ApiAnswer (*run)(const Call&);
};

constexpr std::string_view backends_prefix = "/api/v1/backends/";
constexpr auto routes = std::to_array<Route>({
    {"GET", "/", Effect::reads, get_page},
    {"GET", "/healthz", Effect::reads, get_health},
    {"GET", "/readyz", Effect::reads, get_ready},
    {"GET", "/metrics", Effect::reads, get_metrics},
    {"GET", "/api/v1/status", Effect::reads, get_status},
    {"GET", "/api/v1/listeners", Effect::reads, get_listeners},
    {"GET", "/api/v1/backends", Effect::reads, get_backends},
    {"GET", "/api/v1/connections", Effect::reads, get_connections},
    {"GET", "/api/v1/events", Effect::reads, get_events},
    {"GET", "/api/v1/config", Effect::reads, get_config},
    {"POST", "/api/v1/reload", Effect::changes, post_reload},
    {"POST", "/api/v1/upgrade", Effect::changes, not_yet},
    {"POST", backends_prefix, Effect::changes, post_backend},
    {"PUT", backends_prefix, Effect::changes, not_yet},
    {"DELETE", backends_prefix, Effect::changes, not_yet},
});

/// Splits the POOL/NAME of a backend's path into `call`; false where the path is none.
bool takes_backend(std::string_view path, Call& call) {
  if (!path.starts_with(backends_prefix)) return false;
  path.remove_prefix(backends_prefix.size());
  const std::size_t slash = path.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == path.size()) return false;
  call.pool = path.substr(0, slash);
  call.backend = path.substr(slash + 1);
  return call.backend.find('/') == std::string_view::npos;
}

bool is_local_name(std::string_view host) {
  if (host.empty()) return true;  // HTTP/1.0; a browser always sends one
  const std::string text(host);
  if (Endpoint::parse(text) || Endpoint::parse_ip(text, 0)) return true;
  if (host.front() == '[' && host.back() == ']')
    return Endpoint::parse_ip(host.substr(1, host.size() - 2), 0).has_value();
  const std::string_view name = host.substr(0, host.find(':'));
  constexpr std::string_view local = "localhost";
  return std::equal(name.begin(), name.end(), local.begin(), local.end(),
                    [](char a, char b) { return (a | 0x20) == b; });
}

enum class Permission { granted, none_given, wrong };
Permission bearer(const std::string& authorization, const std::string& token) {
  constexpr std::string_view scheme = "bearer ";
  if (authorization.size() < scheme.size()) return Permission::none_given;
  const std::string_view text = authorization;
  const bool is_bearer =
      std::equal(scheme.begin(), scheme.end(), text.begin(), [](char a, char b) { return a == b || a == (b | 0x20); });
  if (!is_bearer) return Permission::none_given;
  return same_secret(text.substr(scheme.size()), token) ? Permission::granted : Permission::wrong;
}

}  // namespace

bool same_secret(std::string_view given, std::string_view secret) noexcept {
  if (secret.empty()) return false;
  volatile unsigned char difference =
      given.size() == secret.size() ? 0 : 1;  // volatile: no early way out for the compiler
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference = static_cast<unsigned char>(
        difference | (static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(secret[i % secret.size()])));
  }
  return difference == 0;
}

ApiAnswer refusal(int status, std::string_view sentence) { return {.status = status, .body = error_json(sentence)}; }

ApiAnswer answer(const ApiRequest& request, const ApiRules& rules, Service& service) {
  const bool over_http = rules.door == Door::http;
  const Permission permission =
      over_http && !rules.token.empty() ? bearer(request.authorization, rules.token) : Permission::none_given;
  if (over_http && rules.names == ApiRules::Names::local_only && permission != Permission::granted &&
      !is_local_name(request.host)) {
    return refusal(403,
                   fmt::format("this address answers to an IP address or localhost, not to the name '{}'; a name needs "
                               "the token, or admin.http on an address that is not loopback",
                               request.host));
  }

  Call call{request, service, {}, {}};
  const bool below_backends = takes_backend(request.path, call);
  const std::string_view method = request.method == "HEAD" ? std::string_view("GET") : request.method;
  std::string allow;
  for (const Route& route : routes) {
    if (route.path == backends_prefix ? !below_backends : route.path != request.path) continue;
    if (route.method != method) {
      allow += fmt::format("{}{}", allow.empty() ? "" : ", ", route.method == "GET" ? "GET, HEAD" : route.method);
      continue;
    }
    // A change over http always needs the token, which no foreign page can send: that is the guard against cross-site
    // requests.
    if (route.effect == Effect::changes && over_http && permission != Permission::granted) {
      if (rules.token.empty()) {
        return refusal(
            403,
            fmt::format("changes over http are off: set admin.token, or ask through the socket (usher --socket {})",
                        rules.socket.empty() ? "PATH" : rules.socket));
      }
      ApiAnswer denied = refusal(401, permission == Permission::wrong
                                          ? "the token is not the one in admin.token"
                                          : "changes over http need \"Authorization: Bearer TOKEN\" with admin.token");
      denied.authenticate = "Bearer";
      return denied;
    }
    return route.run(call);
  }
  if (!allow.empty()) {
    ApiAnswer wrong = refusal(405, fmt::format("{} is not for {}; it takes {}", request.path, request.method, allow));
    wrong.allow = allow;
    return wrong;
  }
  return refusal(
      404, fmt::format("there is nothing at {}; try /api/v1/status, /listeners, /backends, /connections, /events, "
                       "/config, or /metrics, /healthz, /readyz",
                       request.path));
}

}  // namespace usher
