// Report: the problems found so far.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/document.h"
#include "usher/config/diagnostic.h"

namespace usher {

/// A resource that one parse owns. Not thread safe.
class Report {
 public:
  explicit Report(std::string_view file) : file_(file) {}
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  void error(Position at, std::string message, std::string hint = {});
  void warning(Position at, std::string message, std::string hint = {});
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  /// Everything, in the order of the file.
  [[nodiscard]] std::vector<Diagnostic> in_order() const;

 private:
  void add(Severity severity, Position at, std::string message, std::string hint);

  std::string file_;
  std::multimap<Position, Diagnostic> problems_;  ///< in the order of the file, and of reporting where that is the same
  bool failed_ = false;
};

}  // namespace usher
