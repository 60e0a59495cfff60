// Arguments, by CLI11: one subcommand a verb; what it throws ends here.
#include "cli/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>
#include <string_view>
#include <utility>

#include "usher/base/endpoint.h"

namespace usher::cli {
namespace {

constexpr std::uint32_t seconds_max = 24 * 60 * 60;
constexpr std::uint32_t weight_max = 65535;  // as conf/usher.toml has it

/// Later work: known, so that the answer is not "unknown verb", and hidden from --help.
constexpr std::array later_verbs = {"top", "add", "remove", "upgrade", "plan", "why"};

std::optional<std::uint32_t> whole_number(std::string_view text, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

CLI::Validator number_validator(std::uint32_t least, std::uint32_t most) {
  return {[=](const std::string& text) {
            const auto value = whole_number(text, most);
            if (value && *value >= least) return std::string();
            return fmt::format("'{}' is not a whole number from {} to {}", text, least, most);
          },
          ""};
}

std::string target_problem(const std::string& text) {
  const auto slash = text.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == text.size() ||
      text.find('/', slash + 1) != std::string::npos) {
    return fmt::format("'{}' is not of the form POOL/BACKEND", text);
  }
  return "";
}

std::string address_problem(const std::string& text) {
  return Endpoint::parse_ip(text, 0) ? "" : fmt::format("'{}' is no IP address", text);
}

/// The texts that CLI11 fills in before they are made into Arguments.
struct Texts {
  std::string target;
  std::string weight;
  std::string seconds;
  std::string max_closed;
  bool json = false;
  bool cleanup = false;
};

class Parser {
 public:
  Parser() {
    app_.set_version_flag("--version", version());
    app_.require_subcommand(1);
    app_.footer("Exit status: 0 done, 1 refused or failed, 2 usage or invalid configuration. See usher(8).");
    add_own_verbs();
    add_questions();
    add_orders();
    for (const char* word : later_verbs) {
      CLI::App* verb = app_.add_subcommand(word)->group("");
      verb->set_help_flag();
      verb->prefix_command();
      verb->callback([this, word] { mark_unsupported(word); });
    }
  }

  std::expected<Arguments, Answer> parse(std::vector<std::string> words) {
    std::ranges::reverse(words);  // CLI11 takes them from the back
    try {
      app_.parse(std::move(words));
    } catch (const CLI::ParseError& error) {
      return std::unexpected(explain(error));
    }
    if (!texts_.max_closed.empty()) mark_unsupported("reload --max-closed");
    if (texts_.cleanup) parsed_.verb = Verb::cleanup;
    if (texts_.json) parsed_.output = Output::json;
    if (const auto slash = texts_.target.find('/'); slash != std::string::npos) {
      parsed_.pool = texts_.target.substr(0, slash);
      parsed_.backend = texts_.target.substr(slash + 1);
    }
    if (!texts_.weight.empty()) parsed_.weight = whole_number(texts_.weight, weight_max).value();
    if (!texts_.seconds.empty()) parsed_.seconds = whole_number(texts_.seconds, seconds_max).value();
    return parsed_;
  }

 private:
  static std::string version() { return "usher " USHER_VERSION; }

  CLI::App* add_verb(const char* word, const char* help, Verb verb) {
    CLI::App* made = app_.add_subcommand(word, help);
    made->set_version_flag("--version", version());
    made->callback([this, verb] { parsed_.verb = verb; });
    return made;
  }

  void add_own_verbs() {
    CLI::App* run = add_verb("run", "Serve in the foreground; SIGTERM drains, SIGHUP reloads", Verb::run);
    run->add_option("-c,--config", parsed_.config_file, "The configuration")->required()->type_name("FILE");
    run->add_flag("--cleanup", texts_.cleanup, "Don't serve: detach and unpin what a killed usher of this file left");
    CLI::App* check = add_verb("check", "Validate a configuration: every problem at once", Verb::check);
    check->add_option("-c,--config", parsed_.config_file, "The configuration")->required()->type_name("FILE");
    CLI::App* doctor = add_verb("doctor", "What this kernel and these limits allow, and the cure for the rest", Verb::doctor);
    doctor->add_option("-c,--config", parsed_.config_file, "Also what this file needs")->type_name("FILE");
    doctor->add_flag("--json", texts_.json, "One JSON object");
    CLI::App* demo = add_verb("demo", "Three backends, one listener and a gentle load, in this terminal", Verb::demo);
    demo->add_option("--seconds", texts_.seconds, "End after so long")
        ->type_name("N")
        ->check(number_validator(1, seconds_max));
    demo->add_flag("--json", texts_.json, "No view; one JSON object at the end");
    CLI::App* dsr = add_verb("dsr", "On a backend: unwrap the packets of a listener with kernel_mode = \"dsr\"", Verb::dsr);
    dsr->add_option("--interface", parsed_.interface, "Where the balancers' packets come in")->required()->type_name("NAME");
    dsr->add_option("--address", parsed_.addresses, "The listener's addresses, which this host has on lo")
        ->required()
        ->type_name("IP")
        ->check(CLI::Validator(address_problem, ""));
  }

  void add_questions() {
    add_question("status", "What this usher is, and how it is", Verb::status);
    add_question("listeners", "Each listener, its pool and its counts", Verb::listeners);
    add_question("backends", "Each backend, its state, health and counts", Verb::backends);
    add_question("connections", "The connections that are open now", Verb::connections);
    add_question("events", "What happened lately", Verb::events);
  }
  void add_question(const char* word, const char* help, Verb verb) {
    CLI::App* made = add_verb(word, help, verb);
    add_socket(made);
    made->add_flag("--json", texts_.json, "The API's answer, as it is");
  }

  void add_orders() {
    add_order("drain", "Give a backend nothing new; its sessions go on", Verb::drain);
    add_order("enable", "Give a backend new connections again", Verb::enable);
    add_order("disable", "Take a backend out, and close its sessions", Verb::disable);
    CLI::App* weight = add_order("weight", "Set a backend's share; 0 = nothing new", Verb::weight);
    weight->add_option("weight", texts_.weight, "The new weight")
        ->required()
        ->type_name("N")
        ->check(number_validator(0, weight_max));
    CLI::App* reload = add_verb("reload", "Apply the configuration file again", Verb::reload);
    add_socket(reload);
    reload->add_option("--max-closed", texts_.max_closed)->group("");
  }
  CLI::App* add_order(const char* word, const char* help, Verb verb) {
    CLI::App* made = add_verb(word, help, verb);
    add_socket(made);
    made->add_option("backend", texts_.target, "Which one")
        ->required()
        ->type_name("POOL/BACKEND")
        ->check(CLI::Validator(target_problem, ""));
    return made;
  }
  void add_socket(CLI::App* verb) {
    verb->add_option("--socket", parsed_.socket, "The admin socket of the usher to speak to")
        ->type_name("PATH")
        ->capture_default_str();
  }

  void mark_unsupported(std::string what) {
    parsed_.verb = Verb::unsupported;
    parsed_.unsupported = std::move(what);
  }

  Answer explain(const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help and --version come as exceptions, too
      std::ostringstream out;
      app_.exit(error, out, out);
      return {exit_done, out.str(), ""};
    }
    std::string message = error.what();
    std::replace(message.begin(), message.end(), '\n', ' ');
    const auto verbs = app_.get_subcommands();
    if (verbs.empty()) {
      const auto rest = app_.remaining();
      if (rest.empty()) {
        message = "a verb is missing";
      } else {
        message = fmt::format("unknown {} '{}'", rest.front().starts_with('-') ? "option" : "verb", rest.front());
      }
      return {exit_usage, "", fmt::format("usher: {}; see 'usher --help'\n", message)};
    }
    const auto kind = static_cast<CLI::ExitCodes>(error.get_exit_code());
    if (kind == CLI::ExitCodes::ExtrasError) {
      const auto rest = verbs.front()->remaining();
      message = fmt::format("unexpected '{}'", rest.empty() ? message : rest.front());
    } else if (kind == CLI::ExitCodes::ArgumentMismatch) {
      message = fmt::format("{} wants a value", message.substr(0, message.find(':')));
    }
    return {exit_usage, "",
            fmt::format("usher {0}: {1}; see 'usher {0} --help'\n", verbs.front()->get_name(), message)};
  }

  Arguments parsed_;
  Texts texts_;
  CLI::App app_{"A layer-4 TCP load balancer for Linux.", "usher"};
};

}  // namespace

std::expected<Arguments, Answer> parse_arguments(const std::vector<std::string>& words) {
  return Parser().parse(words);
}

}  // namespace usher::cli
