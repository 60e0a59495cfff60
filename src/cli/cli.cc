// The command line's entry: each verb to who does it.
#include "usher/cli/cli.h"

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/check.h"
#include "cli/client_verbs.h"
#include "cli/demo.h"
#include "cli/doctor.h"
#include "cli/dsr.h"
#include "cli/run.h"
#include "cli/terminal.h"

namespace usher {
namespace {

using namespace cli;

int say(const Answer& answer) {
  std::fputs(answer.err.c_str(), stderr);
  // Nobody who reads a full disk's half of a table shall think it whole.
  if (!write_stdout(answer.out)) return answer.status == exit_done ? exit_refused : answer.status;
  return answer.status;
}

int ask_running_usher(const Arguments& arguments) {
  const ClientRequest request = client_request(arguments);
  return say(client_answer(arguments, admin_request(arguments.socket, request.method, request.path, request.body)));
}

int run_verb(const Arguments& arguments) {
  switch (arguments.verb) {
    case Verb::run:
      return run_in_foreground(arguments.config_file);
    case Verb::cleanup:
      return clean_up_after(arguments.config_file);
    case Verb::doctor:
      return say(doctor_answer(arguments));
    case Verb::check:
      return say(check_answer(arguments.config_file, load_config(arguments.config_file)));
    case Verb::demo:
      return run_demo(arguments);
    case Verb::dsr:
      return run_dsr(arguments);
    case Verb::unsupported:
      return say(refused(arguments.unsupported + " is not supported yet"));
    case Verb::status:
    case Verb::listeners:
    case Verb::backends:
    case Verb::connections:
    case Verb::events:
    case Verb::drain:
    case Verb::enable:
    case Verb::disable:
    case Verb::weight:
    case Verb::reload:
      return ask_running_usher(arguments);
  }
  return exit_usage;
}

}  // namespace

int run_command_line(int argc, char** argv) {
  try {
    const auto arguments = parse_arguments(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    return arguments ? run_verb(*arguments) : say(arguments.error());
  } catch (const std::exception& error) {  // out of memory, no thread to be had: what nobody below could handle
    std::fputs(("usher: " + std::string(error.what()) + "\n").c_str(), stderr);
    return exit_refused;
  }
}

}  // namespace usher
