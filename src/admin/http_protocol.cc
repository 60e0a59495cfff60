// HttpProtocol: what is refused before the API sees it, and how answers become HTTP.
#include "admin/http_protocol.h"

#include <exception>
#include <string>

#include "admin/page.h"
#include "usher/base/log.h"
#include "usher/control/service.h"

namespace usher {
namespace {

// The library matches paths by std::regex, whose stack grows with the text.
constexpr std::size_t path_bytes_max = 512;

/// httplib::Server::process_request as 0.11 and as 0.18 have it, protected in both.
using ProcessOld = bool (httplib::Server::*)(httplib::Stream&, bool, bool&,
                                             const std::function<void(httplib::Request&)>&);
using ProcessNew = bool (httplib::Server::*)(httplib::Stream&, const std::string&, int, const std::string&, int, bool,
                                             bool&, const std::function<void(httplib::Request&)>&);

[[maybe_unused]] bool run(httplib::Server& server, ProcessOld process, httplib::Stream& stream,
                          const std::function<void(httplib::Request&)>& setup) {
  bool closed = false;
  return (server.*process)(stream, true, closed, setup);
}

[[maybe_unused]] bool run(httplib::Server& server, ProcessNew process, httplib::Stream& stream,
                          const std::function<void(httplib::Request&)>& setup) {
  bool closed = false;
  return (server.*process)(stream, "", 0, "", 0, true, closed, setup);
}

void write(const ApiAnswer& from, httplib::Response& to) {
  to.status = from.status;
  to.set_content(from.body, from.content_type.c_str());
  if (!from.allow.empty()) to.set_header("Allow", from.allow);
  if (!from.authenticate.empty()) to.set_header("WWW-Authenticate", from.authenticate);
}

/// A request that names no length has none (RFC 9112, 6.3); the library would read until the client hangs up. And
/// ranges of an answer are nobody's need, but a list of a thousand would be a thousand copies.
void normalize(httplib::Request& request) {
  request.ranges.clear();
  if (!request.has_header("Content-Length") && !request.has_header("Transfer-Encoding"))
    request.set_header("Content-Length", "0");
}

/// A sentence for what the library refuses by itself.
std::string_view library_refusal(int status) {
  if (status == 413) return "the request is too large; at most 64 KiB";
  if (status == 414) return "the path is too long";
  if (status == 416) return "ranges are not supported";
  return "the request is not HTTP as this server knows it";
}

}  // namespace

HttpProtocol::HttpProtocol(ApiRules rules, Service& service) : rules_(std::move(rules)) {
  set_payload_max_length(payload_bytes_max);
  set_default_headers({{"Cache-Control", "no-store"},
                       {"X-Content-Type-Options", "nosniff"},
                       {"Content-Security-Policy", std::string(page_policy)}});
  set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
    // Only a plain body with a length is bounded by the library; a chunked or a compressed one would not be.
    if (request.path.size() > path_bytes_max) {
      write(refusal(414, library_refusal(414)), response);
    } else if (request.has_header("Transfer-Encoding")) {
      write(refusal(411, "send the body with Content-Length, not chunked"), response);
    } else if (request.has_header("Content-Encoding")) {
      write(refusal(415, "send the body without Content-Encoding"), response);
    } else {
      return HandlerResponse::Unhandled;
    }
    return HandlerResponse::Handled;
  });
  const Handler route = [this, &service](const httplib::Request& request, httplib::Response& response) {
    write(answer({.method = request.method,
                  .path = request.path,
                  .max = request.get_param_value("max"),
                  .body = request.body,
                  .authorization = request.get_header_value("Authorization"),
                  .host = request.get_header_value("Host")},
                 rules_, service),
          response);
  };
  const std::string anything = R"([\s\S]*)";
  Get(anything, route);
  Post(anything, route);
  Put(anything, route);
  Delete(anything, route);
  Patch(anything, route);
  Options(anything, route);
  set_exception_handler([](const httplib::Request& request, httplib::Response& response, std::exception_ptr thrown) {
    std::string why = "unknown exception";
    try {
      std::rethrow_exception(thrown);
    } catch (const ServiceBusy& e) {
      return write(refusal(503, e.what()), response);
    } catch (const std::exception& e) {
      why = e.what();
    } catch (...) {  // the sentence above stands
    }
    log_error("admin", "{} {} failed: {}", request.method, request.path, why);
    write(refusal(500, "internal error: " + why), response);
  });
  set_error_handler(HandlerWithResponse([](const httplib::Request&, httplib::Response& response) {
    if (response.body.empty()) write(refusal(response.status, library_refusal(response.status)), response);
    return HandlerResponse::Handled;  // the library gives the body its length only then
  }));
}

void HttpProtocol::serve_one(httplib::Stream& stream) {
  // What it answers is whether the connection may go on, and it never does.
  (void)run(*this, &HttpProtocol::process_request, stream, normalize);
}

}  // namespace usher
