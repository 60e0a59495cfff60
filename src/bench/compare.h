// Comparison: two reports side by side, and whether their rates differ by more than they wavered.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "usher/base/error.h"

namespace usher::bench {

/// What a comparison needs of a report; values that a mode doesn't have are NaN.
struct ComparedReport {
  std::string name;   ///< its file
  std::string title;  ///< "http 127.0.0.1:80, 50 connections, closed loop"
  struct Row {
    std::string label;
    double value;
    enum class Unit { per_second, bytes_per_second, seconds, count, share } unit;
    enum class Shown { where_either_has_it, where_both_have_it } shown;  ///< both: reports of old versions lack it
  };
  std::vector<Row> rows;  ///< the same labels in every report
  std::vector<double> slices_per_second;
};

/// The error names the file and what is wrong with it.
Result<ComparedReport> read_report(const std::string& name, std::string_view json);
std::string comparison_table(const ComparedReport& a, const ComparedReport& b);

}  // namespace usher::bench
