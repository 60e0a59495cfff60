// Report: gathering problems.
#include "config/report.h"

#include <utility>

namespace usher {

void Report::error(Position at, std::string message, std::string hint) {
  failed_ = true;
  add(Severity::error, at, std::move(message), std::move(hint));
}

void Report::warning(Position at, std::string message, std::string hint) {
  add(Severity::warning, at, std::move(message), std::move(hint));
}

void Report::add(Severity severity, Position at, std::string message, std::string hint) {
  problems_.emplace(at, Diagnostic{severity, file_, at.line, at.column, std::move(message), std::move(hint)});
}

std::vector<Diagnostic> Report::in_order() const {
  std::vector<Diagnostic> problems;
  for (const auto& [at, problem] : problems_) problems.push_back(problem);
  return problems;
}

}  // namespace usher
