// Compares two reports: reads the files, prints the table.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>

#include "bench/compare.h"
#include "bench/run_modes.h"

namespace usher::bench {
namespace {

constexpr std::size_t report_bytes_max = 64 << 20;

Result<ComparedReport> read_file(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  if (!file) return fail_system(fmt::format("can't read {}", name));
  std::string text(report_bytes_max + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > report_bytes_max) return fail(fmt::format("{} is over 64 MiB: no report of usher-bench", name));
  return read_report(name, text);
}

}  // namespace

int run_compare_mode(const BenchArguments& arguments) {
  const auto a = read_file(arguments.report_files[0]);
  const auto b = read_file(arguments.report_files[1]);
  if (!a) complain(a.error().message);
  if (!b) complain(b.error().message);
  if (!a || !b) return exit_failed;
  return print(comparison_table(*a, *b)) ? exit_done : exit_failed;
}

}  // namespace usher::bench
