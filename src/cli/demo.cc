// The demo: builds its parts, then one loop of signals, keys and ticks until it is told to stop.
#include "cli/demo.h"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/check.h"
#include "cli/demo_backend.h"
#include "cli/demo_history.h"
#include "cli/demo_load.h"
#include "cli/demo_schedule.h"
#include "cli/demo_setup.h"
#include "cli/service_thread.h"
#include "cli/terminal.h"

namespace usher::cli {
namespace {

constexpr std::uint16_t listener_port = 8080, listener_port_last = 8099;
constexpr std::uint16_t http_port = 9900, http_port_last = 9919;
constexpr Duration slow_delay = std::chrono::milliseconds(30);
constexpr Duration view_interval = std::chrono::milliseconds(200);
constexpr Duration line_interval = std::chrono::seconds(1);
constexpr std::size_t events_asked_max = 100;  // a tick

using Backends = std::vector<std::unique_ptr<DemoBackend>>;

/// How the demo shows itself.
enum class Show { view, lines, summary_only };

Result<Fd> take_signals() {
  sigset_t mine;
  sigemptyset(&mine);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&mine, signal);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &mine, nullptr); code != 0)
    return fail_system("pthread_sigmask", code);
  Fd signals(::signalfd(-1, &mine, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals) return fail_system("signalfd");
  return signals;
}

Result<Backends> start_backends() {
  Backends backends;
  for (const auto& [name, delay] :
       {std::pair{"one", Duration::zero()}, {"two", Duration::zero()}, {"three", slow_delay}}) {
    auto backend = DemoBackend::start(name, delay);
    if (!backend) return std::unexpected(backend.error());
    backends.push_back(std::move(*backend));
  }
  return backends;
}

/// Everything that the loop works on. A resource; the members stop in the reverse order.
class Demo {
 public:
  Demo(const Arguments& arguments, DemoSetup setup, Backends& backends, ServiceThread& service, DemoLoad& load,
       Fd signals)
      : arguments_(arguments),
        setup_(std::move(setup)),
        backends_(backends),
        service_(service),
        load_(load),
        signals_(std::move(signals)),
        schedule_(backends.size()),
        history_(started_) {
    if (arguments.output == Output::json) return;
    show_ = terminal_can_draw() ? Show::view : Show::lines;
    keys_ = terminal_has_keys() && show_ == Show::view;
  }

  /// What was to be said before the view covers it.
  void remark(const std::string& text) {
    std::fputs(("usher demo: " + text + "\n").c_str(), stderr);
    history_.add_event(wall_clock_text(std::chrono::system_clock::now()) + "  demo     " + text);
  }

  void run() {
    {
      std::optional<TerminalScreen> screen;
      if (show_ == Show::view) screen.emplace(keys_ ? TerminalScreen::Keys::wanted : TerminalScreen::Keys::none);
      screen_ = screen ? &*screen : nullptr;
      if (show_ == Show::lines) {
        stopping_ = !write_stdout(fmt::format("usher demo: http://{}/ dashboard http://{}/ admin socket {}\n",
                                              setup_.listener.text(), setup_.http.text(), setup_.socket));
      }
      while (!stopping_) {
        tick();
        if (!stopping_) wait();
      }
      screen_ = nullptr;
    }
    observe();
    write_stdout(show_ == Show::summary_only ? history_.summary_json() : history_.summary_text());
  }

 private:
  [[nodiscard]] Duration tick_interval() const { return show_ == Show::view ? view_interval : line_interval; }

  void tick() {
    const TimePoint now = Clock::now();
    // A key or a signal brings a tick early, which must not put the next one off.
    if (now >= next_tick_) next_tick_ = std::max(next_tick_ + tick_interval(), now);
    const Duration elapsed = now - started_;
    while (automatic_) {
      const auto step = schedule_.due(elapsed);
      if (!step) break;
      set_alive(step->backend, step->act);
    }
    observe();
    if (stopping_) return;
    switch (show_) {
      case Show::view:
        stopping_ = !screen_->show(render_view(frame(), terminal_style()));
        break;
      case Show::lines:
        stopping_ = !write_stdout(render_line(frame()) + "\n");
        break;
      case Show::summary_only:
        break;
    }
    if (arguments_.seconds && elapsed >= std::chrono::seconds(*arguments_.seconds)) stopping_ = true;
  }

  void observe() {
    DemoMoment moment{.at = Clock::now(), .status = {}, .backends = {}, .load = load_.report()};
    std::vector<Event> events;
    const bool there = service_.with_service([&](Service& service) {
      moment.status = service.status();
      moment.backends = service.backends();
      events = service.events(events_asked_max);
    });
    if (!there) stopping_ = true;
    if (moment.backends.empty()) return;  // usher had no time to answer: what stands is better than zeros
    history_.add(std::move(moment));
    for (const std::string& line : history_.add_events(events)) {
      if (show_ == Show::lines && !write_stdout("       " + line + "\n")) stopping_ = true;
    }
  }

  [[nodiscard]] ViewFrame frame() const {
    ViewFrame frame = history_.frame();
    frame.listener = "http://" + setup_.listener.text() + "/";
    frame.dashboard = "http://" + setup_.http.text() + "/";
    for (std::size_t i = 0; i < frame.backends.size() && i < backends_.size(); ++i) {
      if (!backends_[i]->alive())
        frame.backends[i].remark = "killed";
      else if (i + 1 == backends_.size())
        frame.backends[i].remark = "slower";
    }
    frame.footer.push_back("curl " + frame.listener + "    usher status --socket " + setup_.socket);
    if (keys_) {
      frame.footer.push_back(fmt::format("keys: 1 2 3 kill a backend or bring it back{}, q quits",
                                         automatic_ ? " (until then one dies by itself now and then)" : ""));
    }
    return frame;
  }

  void wait() {
    std::array<pollfd, 3> polled = {{{signals_.number(), POLLIN, 0},
                                     {service_.ended_event().number(), POLLIN, 0},
                                     {keys_ ? STDIN_FILENO : -1, POLLIN, 0}}};
    TimePoint until = next_tick_;
    if (arguments_.seconds) until = std::min(until, started_ + std::chrono::seconds(*arguments_.seconds));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (::poll(polled.data(), polled.size(), static_cast<int>(std::max<std::int64_t>(0, left))) <= 0) return;
    if (polled[0].revents != 0) read_signals();
    if (polled[1].revents != 0) stopping_ = true;
    if (polled[2].revents != 0) read_keys();
  }

  void read_signals() {
    signalfd_siginfo signal{};
    while (::read(signals_.number(), &signal, sizeof(signal)) == sizeof(signal)) {
      if (signal.ssi_signo != SIGWINCH) stopping_ = true;  // a new size is taken on at the tick that follows
    }
  }

  void read_keys() {
    std::array<char, 32> keys;
    const ssize_t got = ::read(STDIN_FILENO, keys.data(), keys.size());
    if (got <= 0) {
      keys_ = false;  // the terminal is gone, and its end must not be polled for ever
      return;
    }
    for (ssize_t i = 0; i < got; ++i) {
      const char key = keys[static_cast<std::size_t>(i)];
      if (key == 'q' || key == 'Q' || key == 4) stopping_ = true;
      if (key < '1' || static_cast<std::size_t>(key - '1') >= backends_.size()) continue;
      const auto backend = static_cast<std::size_t>(key - '1');
      automatic_ = false;  // two hands on one switch would only confuse
      set_alive(backend, backends_[backend]->alive() ? KillAct::kill : KillAct::revive);
    }
  }

  void set_alive(std::size_t index, KillAct act) {
    DemoBackend& backend = *backends_[index];
    const std::string now = wall_clock_text(std::chrono::system_clock::now());
    switch (act) {
      case KillAct::kill:
        backend.kill();
        history_.add_event(fmt::format("{}  demo     killed {}", now, backend.name()));
        break;
      case KillAct::revive:
        backend.revive();
        history_.add_event(fmt::format("{}  demo     brought {} back", now, backend.name()));
        break;
    }
  }

  const Arguments& arguments_;
  DemoSetup setup_;
  Backends& backends_;
  ServiceThread& service_;
  DemoLoad& load_;
  Fd signals_;
  KillSchedule schedule_;
  TimePoint started_ = Clock::now();
  TimePoint next_tick_ = started_;
  DemoHistory history_;
  Show show_ = Show::summary_only;
  TerminalScreen* screen_ = nullptr;
  bool keys_ = false;
  bool automatic_ = true;
  bool stopping_ = false;
};

Result<int> demo(const Arguments& arguments) {
  auto signals = take_signals();
  if (!signals) return std::unexpected(signals.error());
  ::signal(SIGPIPE, SIG_IGN);
  configure_log(LogLevel::error, LogFormat::text);

  auto backends = start_backends();
  if (!backends) return std::unexpected(backends.error());
  const auto directory = PrivateDirectory::make();
  if (!directory) return std::unexpected(directory.error());
  const auto port = free_port(listener_port, listener_port_last);
  if (!port) return std::unexpected(port.error());
  const auto admin_port = free_port(http_port, http_port_last);
  if (!admin_port) return std::unexpected(admin_port.error());

  DemoSetup setup{.listener = Endpoint::ipv4(INADDR_LOOPBACK, *port),
                  .http = Endpoint::ipv4(INADDR_LOOPBACK, *admin_port),
                  .socket = directory->path() + "/admin.sock",
                  .backends = {}};
  for (const auto& backend : *backends) setup.backends.push_back({backend->name(), backend->address()});
  const std::string text = demo_config_text(setup);
  const Parsed parsed = parse_config(text, "demo");
  if (!parsed.config) return fail("its own configuration is refused, which is a bug:\n" + problem_lines(parsed));

  auto service = ServiceThread::start(*parsed.config, text);
  if (!service) return std::unexpected(service.error());
  auto load = DemoLoad::start(setup.listener);
  if (!load) return std::unexpected(load.error());
  {
    Demo running(arguments, setup, *backends, **service, **load, std::move(*signals));
    if (*port != listener_port)
      running.remark(fmt::format("port {} is taken, so it listens on {}", listener_port, setup.listener.text()));
    if (*admin_port != http_port)
      running.remark(fmt::format("port {} is taken, so the dashboard is on {}", http_port, setup.http.text()));
    running.run();
  }
  (*load)->stop();
  (*service)->begin_drain();
  return (*service)->join();
}

}  // namespace

int run_demo(const Arguments& arguments) {
  const Result<int> status = demo(arguments);
  if (status) return *status;
  std::fputs(("usher demo: " + status.error().message + "\n").c_str(), stderr);
  return exit_refused;
}

}  // namespace usher::cli
