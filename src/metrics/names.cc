// The words for outcomes and connect failures: the same in metrics, logs and the API.
#include "usher/metrics/counters.h"
#include "usher/metrics/outcome.h"

namespace usher {

std::string_view name(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::served:
      return "served";
    case Outcome::no_backend:
      return "no_backend";
    case Outcome::dial_refused:
      return "dial_refused";
    case Outcome::dial_timeout:
      return "dial_timeout";
    case Outcome::client_gone:
      return "client_gone";
    case Outcome::backend_gone:
      return "backend_gone";
    case Outcome::idle:
      return "idle";
    case Outcome::lifetime:
      return "lifetime";
    case Outcome::shed:
      return "shed";
    case Outcome::denied:
      return "denied";
    case Outcome::rate_limited:
      return "rate_limited";
    case Outcome::bad_proxy_header:
      return "bad_proxy_header";
    case Outcome::bad_client_hello:
      return "bad_client_hello";
    case Outcome::queue_timeout:
      return "queue_timeout";
    case Outcome::drained:
      return "drained";
    case Outcome::internal:
      return "internal";
  }
  return "internal";
}

std::string_view name(ConnectFailure reason) noexcept {
  switch (reason) {
    case ConnectFailure::refused:
      return "refused";
    case ConnectFailure::timeout:
      return "timeout";
    case ConnectFailure::unreachable:
      return "unreachable";
    case ConnectFailure::no_local_address:
      return "no_local_address";
    case ConnectFailure::other:
      return "other";
  }
  return "other";
}

}  // namespace usher
