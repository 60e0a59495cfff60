// The doctor verb: findings as aligned lines, or as JSON.
#include "cli/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/text.h"

namespace usher::cli {
namespace {

constexpr std::size_t state_columns = 8;  // "degraded"

std::string lines_of(const std::vector<Finding>& findings) {
  std::size_t widest = 0;
  for (const Finding& one : findings) widest = std::max(widest, text_width(safe_text(one.what)));
  std::string lines;
  for (const Finding& one : findings) {
    lines += fmt::format("{:<{}}  {:<{}}  {}\n", name(one.fitness), state_columns, safe_text(one.what), widest, safe_text(one.says));
    if (!one.cure.empty()) lines += fmt::format("{:<{}}  {:<{}}  cure: {}\n", "", state_columns, "", widest, safe_text(one.cure));
  }
  return lines;
}

std::string json_of(const std::vector<Finding>& findings, bool fit) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Finding& one : findings) {
    rows.push_back({{"what", one.what}, {"state", name(one.fitness)}, {"says", one.says}, {"cure", one.cure}, {"needed", one.needed}});
  }
  return nlohmann::json{{"findings", rows}, {"fit", fit}}.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

Answer findings_answer(const std::vector<Finding>& findings, Output output) {
  const auto lacks = [](const Finding& one) { return one.needed && one.fitness == Fitness::missing; };
  const bool fit = std::ranges::none_of(findings, lacks);
  return {fit ? exit_done : exit_refused, output == Output::json ? json_of(findings, fit) : lines_of(findings), ""};
}

Answer doctor_answer(const Arguments& arguments) {
  if (arguments.config_file.empty()) return findings_answer(judge_host(examine_host(std::nullopt), std::nullopt), arguments.output);
  const Parsed parsed = load_config(arguments.config_file);
  if (!parsed.config) return {exit_usage, "", problem_lines(parsed)};
  Answer answer = findings_answer(judge_host(examine_host(parsed.config), parsed.config), arguments.output);
  answer.err = problem_lines(parsed);
  return answer;
}

}  // namespace usher::cli
