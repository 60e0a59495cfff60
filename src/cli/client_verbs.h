// The verbs that speak to a running usher: what each asks, and what its answer means.
#pragma once

#include <string>

#include "cli/answer.h"
#include "cli/arguments.h"
#include "usher/admin/client.h"

namespace usher::cli {

struct ClientRequest {
  std::string method;
  std::string path;
  std::string body;
};

/// REQUIRES: the verb is one that speaks to a running usher (status ... reload). Pure.
ClientRequest client_request(const Arguments& arguments);

/// What to print, and the exit status. Pure.
Answer client_answer(const Arguments& arguments, const Result<AdminResponse>& response);

}  // namespace usher::cli
