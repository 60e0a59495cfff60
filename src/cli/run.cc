// The run verb: hands control the configuration, and lodges the admin server with it.
#include "cli/run.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>

#include "cli/answer.h"
#include "cli/check.h"
#include "usher/admin/server.h"
#include "usher/base/log.h"
#include "usher/control/leftovers.h"
#include "usher/control/run.h"

namespace usher::cli {

int run_in_foreground(const std::string& config_file) {
  std::ifstream file(config_file, std::ios::binary);
  std::ostringstream read;
  read << file.rdbuf();
  const std::string text = read.str();
  // One reading, so that the text that `GET /config` shows is the one in force; load_config says why a file can't be
  // read.
  const Parsed parsed = file && !read.fail() ? parse_config(text, config_file) : load_config(config_file);
  std::fputs(problem_lines(parsed).c_str(), stderr);
  if (!parsed.config) return exit_usage;

  configure_log(parsed.config->global.log_level, parsed.config->global.log_format);
  RunOptions options;
  options.config_file = config_file;
  options.config_text = text;
  options.on_started = [&](Service& service) -> Result<std::shared_ptr<void>> {
    const AdminConfig& admin = parsed.config->admin;
    auto server = start_admin_server({admin.socket, admin.http, admin.token}, service);
    if (!server) return fail("the admin server can't start: " + server.error().message);
    return std::shared_ptr<void>(std::move(*server));
  };
  return run_service(*parsed.config, options);
}

int clean_up_after(const std::string& config_file) {
  const Parsed parsed = load_config(config_file);
  std::fputs(problem_lines(parsed).c_str(), stderr);
  if (!parsed.config) return exit_usage;
  const auto removed = remove_leftovers(*parsed.config);
  std::fputs(removed ? ("usher: " + *removed + "\n").c_str() : refused(removed.error().message).err.c_str(), removed ? stdout : stderr);
  return removed ? exit_done : exit_refused;
}

}  // namespace usher::cli
