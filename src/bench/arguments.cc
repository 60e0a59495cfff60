// BenchArguments, by CLI11: one subcommand a mode; what it throws ends here.
#include "bench/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <sstream>

#include "usher/config/units.h"

namespace usher::bench {
namespace {

using namespace load;

constexpr std::uint64_t threads_max = 256;
constexpr std::uint64_t rate_max = 100'000'000;
constexpr std::uint64_t message_bytes_max = 1 << 30;
constexpr Duration duration_max = std::chrono::hours(24 * 7);
constexpr std::size_t header_bytes_max = 64 * 1024;

/// The texts that CLI11 fills in before they are made into plans; "" where an option wasn't given.
struct Texts {
  std::string target, connections, duration, warmup, rate, connect_rate, threads, timeout, requests, seed, request,
      answer, direction, per_connection, kind, serve_connections;
  std::vector<std::string> sources, headers, listen;
  bool quiet = false;
  bool discard = false;
};

/// Thrown by the readers below, caught by parse(): a mistake in one option.
struct Mistake {
  std::string sentence;
};

std::uint64_t whole(const std::string& name, const std::string& text, std::uint64_t least, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most) {
    throw Mistake{fmt::format("{}: '{}' is not a whole number from {} to {}", name, text, least, most)};
  }
  return value;
}

double rate_of(const std::string& name, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() ||
      !(value >= 0.001 && value <= static_cast<double>(rate_max))) {
    throw Mistake{fmt::format("{}: '{}' is not a number a second from 0.001 to {}", name, text, rate_max)};
  }
  return value;
}

/// As in the configuration; a number alone is seconds.
Duration duration_of(const std::string& name, const std::string& text, Duration least) {
  const bool bare = !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  const auto value = parse_duration(bare ? text + "s" : text);
  if (!value) throw Mistake{fmt::format("{}: {}", name, value.error().message)};
  if (*value < least || *value > duration_max) {
    throw Mistake{fmt::format("{}: '{}' is not between {} and {}", name, text, duration_text(least),
                              duration_text(duration_max))};
  }
  return *value;
}

std::uint32_t size_of(const std::string& name, const std::string& text, std::uint64_t least) {
  const auto value = parse_size(text);
  if (!value) throw Mistake{fmt::format("{}: {}", name, value.error().message)};
  if (*value < least || *value > message_bytes_max) {
    throw Mistake{fmt::format("{}: '{}' is not between {} bytes and 1GiB", name, text, least)};
  }
  return static_cast<std::uint32_t>(*value);
}

template <typename T>
T must(Result<T> result) {
  if (!result) throw Mistake{result.error().message};
  return std::move(*result);
}

std::string request_text(const BenchTarget& target, const std::vector<std::string>& headers,
                         std::string_view connection) {
  const auto names = [&](std::string_view name) {
    return std::ranges::any_of(headers, [&](std::string_view header) {
      return header.size() > name.size() && header[name.size()] == ':' &&
             std::ranges::equal(
                 header.substr(0, name.size()), name, {}, [](unsigned char c) { return std::tolower(c); },
                 [](unsigned char c) { return std::tolower(c); });
    });
  };
  const std::string host = target.port == 80 ? target.text().substr(0, target.text().rfind(':')) : target.text();
  std::string text = fmt::format("GET {} HTTP/1.1\r\n", target.path);
  if (!names("Host")) text += fmt::format("Host: {}\r\n", host);
  if (!names("User-Agent")) text += "User-Agent: usher-bench/" USHER_VERSION "\r\n";
  if (!names("Accept")) text += "Accept: */*\r\n";
  for (const std::string& header : headers) text += header + "\r\n";
  return text + std::string(connection) + "\r\n";
}

class Parser {
 public:
  Parser() {
    app_.set_version_flag("--version", version());
    app_.require_subcommand(0, 1);
    app_.footer("Exit status: 0 ran without errors, 1 errors (said on stderr), 2 usage. See usher-bench(1).");
    app_.add_option("--compare", parsed_.report_files, "Two reports (--json) side by side")
        ->expected(2)
        ->type_name("A.json B.json");
    add_load_modes();
    CLI::App* serve = add_mode("serve", "A backend to measure against: echo, sink, source, http or answer");
    serve->add_option("kind", texts_.kind, "echo | sink | source | http | answer")->required()->type_name("KIND");
    serve->add_option("--listen", texts_.listen, "Where; may be given more than once")
        ->required()
        ->type_name("IP:PORT");
    serve->add_option("--threads", texts_.threads, "Threads, each with a ring of its own (1)")->type_name("N");
    serve->add_option("-d,--duration", texts_.duration, "End after so long (until SIGTERM or SIGINT)")
        ->type_name("TIME");
    serve->add_option("-c,--connections", texts_.serve_connections, "Most connections a thread (65536)")
        ->type_name("N");
    serve->add_flag("--discard", texts_.discard,
                    "sink: drop what comes without copying it; cheaper than any real receiver");
    serve->add_flag("--quiet", texts_.quiet, "Print nothing");
  }

  std::expected<BenchArguments, BenchAnswer> parse(std::vector<std::string> words) {
    std::ranges::reverse(words);  // CLI11 takes them from the back
    try {
      app_.parse(std::move(words));
    } catch (const CLI::ParseError& error) {
      return std::unexpected(explain(error));
    }
    const auto modes = app_.get_subcommands();
    if (!parsed_.report_files.empty()) {
      if (!modes.empty()) return std::unexpected(usage("--compare stands alone"));
      parsed_.verb = BenchVerb::compare;
      return parsed_;
    }
    if (modes.empty()) return std::unexpected(usage("a mode is missing: stream, echo, connect, idle, http or serve"));
    try {
      if (modes.front()->get_name() == "serve") {
        read_serve();
      } else {
        read_load(modes.front()->get_name());
      }
    } catch (const Mistake& mistake) {
      return std::unexpected(usage(mistake.sentence));
    }
    return parsed_;
  }

 private:
  static std::string version() { return "usher-bench " USHER_VERSION; }

  CLI::App* add_mode(const char* word, const char* help) {
    CLI::App* made = app_.add_subcommand(word, help);
    made->set_version_flag("--version", version());
    return made;
  }

  CLI::App* add_load_mode(const char* word, const char* help, const char* target) {
    CLI::App* made = add_mode(word, help);
    made->add_option("target", texts_.target, "What to load")->required()->type_name(target);
    made->add_option("-c,--connections", texts_.connections, "Connections at a time (50)")->type_name("N");
    made->add_option("-d,--duration", texts_.duration, "Measure for so long (10s)")->type_name("TIME");
    made->add_option("--warmup", texts_.warmup, "Before that, uncounted (1s; 0s with --requests)")->type_name("TIME");
    made->add_option("--threads", texts_.threads, "Threads, each with a ring of its own (1)")->type_name("N");
    made->add_option("--timeout", texts_.timeout, "Give up a connect or a request after so long (5s)")
        ->type_name("TIME");
    made->add_option("--connect-rate", texts_.connect_rate, "Open at most so many connections a second")
        ->type_name("R");
    made->add_option("--bind", texts_.sources, "Source addresses, used in turns")->type_name("IP...");
    made->add_option("--seed", texts_.seed, "Of the jitter between retries (1)")->type_name("N");
    made->add_option("--json", parsed_.json_file, "The report as JSON; - is stdout")->type_name("FILE");
    made->add_flag("--quiet", texts_.quiet, "No progress, no table; errors still");
    return made;
  }
  void add_pace(CLI::App* mode) {
    mode->add_option("-r,--rate", texts_.rate, "Open loop: so many requests a second in all, whatever the answers do")
        ->type_name("R");
    mode->add_option("--requests", texts_.requests,
                     "End after so many requests, answered or failed, or with the duration")
        ->type_name("N");
  }
  void add_sizes(CLI::App* mode) {
    mode->add_option("--request", texts_.request, "Bytes of a request, at least 8 (64)")->type_name("SIZE");
    mode->add_option("--answer", texts_.answer, "Bytes of an answer (64)")->type_name("SIZE");
  }

  void add_load_modes() {
    CLI::App* http = add_load_mode("http", "Users of any HTTP server: GET, keep-alive", "URL");
    add_pace(http);
    http->add_option("--requests-per-connection", texts_.per_connection,
                     "Then close it and open another; 1 = a connection for each")
        ->type_name("K");
    http->add_option("-H,--header", texts_.headers, "One more header; may be given more than once")
        ->type_name("'NAME: VALUE'");
    CLI::App* echo =
        add_load_mode("echo", "Requests and answers on connections that stay (against 'serve answer')", "HOST:PORT");
    add_pace(echo);
    add_sizes(echo);
    CLI::App* connect = add_load_mode(
        "connect", "Connect, one request, its answer, close; again (against 'serve answer')", "HOST:PORT");
    add_pace(connect);
    add_sizes(connect);
    CLI::App* stream =
        add_load_mode("stream", "As many bytes as go (against 'serve sink', 'source' or 'echo')", "HOST:PORT");
    stream->add_option("--direction", texts_.direction, "up (to a sink) | down (from a source) | both (an echo)  (up)")
        ->type_name("WHERE");
    CLI::App* idle = add_load_mode("idle", "Open connections and hold them; notice who is closed", "HOST:PORT");
    idle->add_option("--request", texts_.request, "Send so many bytes once on each (0)")->type_name("SIZE");
  }

  void read_load(const std::string& mode) {
    LoadPlan& plan = parsed_.plan;
    plan.mode = mode == "stream"    ? LoadMode::stream
                : mode == "echo"    ? LoadMode::echo
                : mode == "connect" ? LoadMode::connect
                : mode == "idle"    ? LoadMode::idle
                                    : LoadMode::http;
    parsed_.target = must(plan.mode == LoadMode::http ? parse_url(texts_.target) : parse_address(texts_.target));
    if (!texts_.connections.empty())
      plan.connections =
          static_cast<std::uint32_t>(whole("--connections", texts_.connections, 1, load_connections_max));
    if (!texts_.threads.empty())
      plan.threads = static_cast<std::uint32_t>(whole("--threads", texts_.threads, 1, threads_max));
    if (plan.threads > plan.connections)
      throw Mistake{fmt::format("{} threads have nothing to do with {} connections", plan.threads, plan.connections)};
    if (!texts_.duration.empty())
      plan.duration = duration_of("--duration", texts_.duration, std::chrono::milliseconds(1));
    if (!texts_.requests.empty()) {
      plan.requests_max = whole("--requests", texts_.requests, 1, std::uint64_t{1} << 50);
      plan.warmup = Duration::zero();
    }
    if (!texts_.warmup.empty()) plan.warmup = duration_of("--warmup", texts_.warmup, Duration::zero());
    if (!texts_.timeout.empty()) plan.timeout = duration_of("--timeout", texts_.timeout, std::chrono::milliseconds(1));
    if (!texts_.rate.empty()) plan.rate = rate_of("--rate", texts_.rate);
    if (!texts_.connect_rate.empty()) plan.connect_rate = rate_of("--connect-rate", texts_.connect_rate);
    if (!texts_.seed.empty()) plan.seed = whole("--seed", texts_.seed, 0, ~std::uint64_t{0});
    for (const std::string& source : texts_.sources) plan.sources.push_back(must(Endpoint::parse_ip(source, 0)));
    parsed_.loudness = texts_.quiet ? Loudness::quiet : Loudness::normal;
    read_mode(plan);
  }

  void read_mode(LoadPlan& plan) {
    switch (plan.mode) {
      case LoadMode::http:
        read_http(plan);
        break;
      case LoadMode::connect:
        plan.requests_per_connection = 1;
        [[fallthrough]];
      case LoadMode::echo:
        if (!texts_.request.empty()) plan.request_bytes = size_of("--request", texts_.request, answer_head_bytes);
        if (!texts_.answer.empty()) plan.answer_bytes = size_of("--answer", texts_.answer, 1);
        break;
      case LoadMode::stream:
        if (texts_.direction.empty() || texts_.direction == "up") break;
        if (texts_.direction != "down" && texts_.direction != "both") {
          throw Mistake{fmt::format("--direction: '{}' is not up, down or both", texts_.direction)};
        }
        plan.direction = texts_.direction == "down" ? Direction::down : Direction::both;
        break;
      case LoadMode::idle: {
        if (!texts_.request.empty()) plan.request.assign(size_of("--request", texts_.request, 0), 'x');
        // The time counts from when all of them should be open.
        if (plan.connect_rate == 0) plan.connect_rate = 2000;
        const auto opening = Duration(static_cast<std::int64_t>(1e9 * plan.connections / plan.connect_rate));
        plan.warmup = std::max(plan.warmup, opening);
        break;
      }
    }
  }

  void read_http(LoadPlan& plan) {
    if (!texts_.per_connection.empty()) {
      plan.requests_per_connection =
          static_cast<std::uint32_t>(whole("--requests-per-connection", texts_.per_connection, 1, 1'000'000'000));
    }
    std::size_t bytes = 0;
    for (const std::string& header : texts_.headers) {
      const std::size_t colon = header.find(':');
      if (colon == 0 || colon == std::string::npos || header.find_first_of("\r\n") != std::string::npos) {
        throw Mistake{fmt::format("--header: '{}' is not of the form 'NAME: VALUE'", header)};
      }
      bytes += header.size();
    }
    if (bytes > header_bytes_max) throw Mistake{fmt::format("--header: more than {} bytes in all", header_bytes_max)};
    plan.request = request_text(parsed_.target, texts_.headers, "");
    plan.last_request = request_text(parsed_.target, texts_.headers, "Connection: close\r\n");
  }

  void read_serve() {
    parsed_.verb = BenchVerb::serve;
    ServePlan& plan = parsed_.serve;
    const std::pair<const char*, ServeKind> kinds[] = {{"echo", ServeKind::echo},
                                                       {"sink", ServeKind::sink},
                                                       {"source", ServeKind::source},
                                                       {"http", ServeKind::http},
                                                       {"answer", ServeKind::answer}};
    const auto kind =
        std::ranges::find(kinds, texts_.kind, [](const auto& one) { return std::string_view(one.first); });
    if (kind == std::end(kinds))
      throw Mistake{fmt::format("'{}' is not echo, sink, source, http or answer", texts_.kind)};
    plan.kind = kind->second;
    if (texts_.discard && plan.kind != ServeKind::sink) throw Mistake{"--discard is for 'serve sink'"};
    plan.sinking = texts_.discard ? Sinking::discarded : Sinking::copied;
    for (const std::string& listen : texts_.listen) plan.listen.push_back(must(Endpoint::parse(listen)));
    if (!texts_.threads.empty())
      plan.threads = static_cast<std::uint32_t>(whole("--threads", texts_.threads, 1, threads_max));
    if (!texts_.serve_connections.empty()) {
      plan.connections_max =
          static_cast<std::uint32_t>(whole("--connections", texts_.serve_connections, 1, load_connections_max));
    }
    if (!texts_.duration.empty())
      parsed_.serve_for = duration_of("--duration", texts_.duration, std::chrono::milliseconds(1));
    parsed_.loudness = texts_.quiet ? Loudness::quiet : Loudness::normal;
  }

  BenchAnswer usage(const std::string& sentence) const {
    const auto modes = app_.get_subcommands();
    const std::string command = modes.empty() ? "usher-bench" : "usher-bench " + modes.front()->get_name();
    std::string safe = sentence;  // what was typed must not break the line, nor drive the terminal
    std::ranges::replace_if(
        safe, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    return {exit_usage, "", fmt::format("{0}: {1}; see '{0} --help'\n", command, safe)};
  }

  BenchAnswer explain(const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help and --version come as exceptions, too
      std::ostringstream out;
      app_.exit(error, out, out);
      return {exit_done, out.str(), ""};
    }
    std::string message = error.what();
    std::ranges::replace(message, '\n', ' ');
    const auto modes = app_.get_subcommands();
    const auto kind = static_cast<CLI::ExitCodes>(error.get_exit_code());
    if (kind == CLI::ExitCodes::ExtrasError) {
      const auto rest = modes.empty() ? app_.remaining() : modes.front()->remaining();
      const std::string first = rest.empty() ? message : rest.front();
      message = fmt::format("{} '{}'",
                            first.starts_with('-') ? "unknown option"
                            : modes.empty()        ? "unknown mode"
                                                   : "unexpected",
                            first);
    } else if (kind == CLI::ExitCodes::RequiredError) {
      message = message.starts_with("target") ? "a target is missing"
                : message.starts_with("kind") ? "what to serve is missing: echo, sink, source, http or answer"
                                              : message;
    } else if (kind == CLI::ExitCodes::ArgumentMismatch) {
      message = fmt::format("{} wants {}", message.substr(0, message.find(':')),
                            message.starts_with("--compare") ? "two files" : "a value");
    }
    return usage(message);
  }

  BenchArguments parsed_;
  Texts texts_;
  CLI::App app_{"A TCP load generator, and backends to measure against.", "usher-bench"};
};

}  // namespace

std::expected<BenchArguments, BenchAnswer> parse_bench_arguments(const std::vector<std::string>& words) {
  return Parser().parse(words);
}

}  // namespace usher::bench
