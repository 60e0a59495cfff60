// The Prometheus text is read back by a small strict parser of its own, after the format's specification.
#include "usher/metrics/exposition.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>

using namespace usher;
using namespace std::chrono_literals;

namespace {

using Labels = std::map<std::string, std::string>;
struct Sample {
  std::string name;
  Labels labels;
  double value = 0;
};
struct Scrape {
  std::map<std::string, std::string> help, type;
  std::vector<std::string> order;
  std::vector<Sample> samples;

  [[nodiscard]] std::optional<double> value(const std::string& name, const Labels& labels) const {
    for (const Sample& sample : samples) {
      if (sample.name == name && sample.labels == labels) return sample.value;
    }
    return std::nullopt;
  }
};

/// Reads one sample line; std::nullopt where it breaks the format.
std::optional<Sample> parse_sample(const std::string& line) {
  const auto name_char = [](char c, bool first) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || c == ':' ||
           (!first && std::isdigit(static_cast<unsigned char>(c)) != 0);
  };
  Sample sample;
  std::size_t at = 0;
  while (at < line.size() && name_char(line[at], at == 0)) sample.name += line[at++];
  if (sample.name.empty()) return std::nullopt;
  if (at < line.size() && line[at] == '{') {
    ++at;
    while (at < line.size() && line[at] != '}') {
      std::string label, text;
      while (at < line.size() && name_char(line[at], label.empty())) label += line[at++];
      if (label.empty() || line.compare(at, 2, "=\"") != 0) return std::nullopt;
      for (at += 2; at < line.size() && line[at] != '"'; ++at) {
        if (line[at] != '\\') {
          text += line[at];
          continue;
        }
        if (++at == line.size()) return std::nullopt;
        if (line[at] == 'n')
          text += '\n';
        else if (line[at] == '\\' || line[at] == '"')
          text += line[at];
        else
          return std::nullopt;
      }
      if (at == line.size() || !sample.labels.emplace(label, text).second) return std::nullopt;
      ++at;
      if (at < line.size() && line[at] == ',')
        ++at;
      else if (at >= line.size() || line[at] != '}')
        return std::nullopt;
    }
    if (at == line.size()) return std::nullopt;
    ++at;
  }
  if (at >= line.size() || line[at] != ' ') return std::nullopt;
  const std::string number = line.substr(at + 1);
  if (number == "+Inf") {
    sample.value = std::numeric_limits<double>::infinity();
    return sample;
  }
  std::istringstream in(number);
  in.imbue(std::locale::classic());
  if (!(in >> sample.value) || in.peek() != std::istringstream::traits_type::eof()) return std::nullopt;
  return sample;
}

Scrape parse(const std::string& text) {
  REQUIRE((text.empty() || text.back() == '\n'));
  Scrape scrape;
  std::set<std::pair<std::string, Labels>> seen;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) {
      const std::size_t space = line.find(' ', 7);
      REQUIRE(space != std::string::npos);
      const std::string metric = line.substr(7, space - 7);
      auto& into = line[2] == 'H' ? scrape.help : scrape.type;
      REQUIRE(into.emplace(metric, line.substr(space + 1)).second);
      if (line[2] == 'T') scrape.order.push_back(metric);
      continue;
    }
    const std::optional<Sample> sample = parse_sample(line);
    REQUIRE(sample);
    REQUIRE(!scrape.order.empty());
    REQUIRE(sample->name.starts_with(scrape.order.back()));  // a family's samples stand together, after its TYPE
    REQUIRE(seen.emplace(sample->name, sample->labels).second);
    scrape.samples.push_back(*sample);
  }
  return scrape;
}

std::string word(MetricType type) {
  switch (type) {
    case MetricType::counter:
      return "counter";
    case MetricType::gauge:
      return "gauge";
    case MetricType::histogram:
      return "histogram";
  }
  return "";
}

Totals sample_totals() {
  Totals totals;
  totals.version = "1.2.3";
  ListenerTotals listener;
  listener.name = "web";
  listener.accepted = 100;
  listener.active = 7;
  listener.closed[static_cast<std::size_t>(Outcome::served)] = 90;
  listener.closed[static_cast<std::size_t>(Outcome::idle)] = 3;
  listener.bytes_in = 123456789012;
  listener.bytes_out = 5;
  DurationHistogram histogram;
  for (const Duration took : {Duration(10us), Duration(100us), Duration(100us), Duration(1s), Duration(24h)}) {
    histogram.note(took);
  }
  listener.duration.add(histogram);
  totals.listeners = {listener};
  BackendTotals a;
  a.name = "a";
  a.up = true;
  a.active = 4;
  a.connections = 60;
  a.connect_failures[static_cast<std::size_t>(ConnectFailure::timeout)] = 2;
  a.bytes_in = 11;
  a.bytes_out = 12;
  a.checks_passed = 30;
  a.checks_failed = 4;
  a.flips = 1;
  KernelTotals kernel;
  kernel.tried = 70;
  kernel.established = 61;
  kernel.refused = 6;
  kernel.syn_retransmits = 3;
  kernel.retransmits = 21;
  kernel.resets = 5;
  kernel.packets_in = 1001;
  kernel.bytes_in = 100002;
  kernel.packets_out = 1003;
  kernel.bytes_out = 100004;
  kernel.flows = 8;
  kernel.connect[0] = 1;
  kernel.connect[7] = 59;
  kernel.connect[31] = 1;
  a.kernel = kernel;
  BackendTotals b;
  b.name = "b";
  PoolTotals pool;
  pool.name = "app";
  pool.backends = {a, b};
  pool.queue_length = 9;
  pool.connect_duration.add(histogram);
  totals.pools = {pool};
  WorkerTotals worker;
  worker.index = 3;
  worker.turns = 77;
  worker.bytes_piped = 8;
  totals.workers = {worker};
  totals.reloads_applied = 2;
  totals.reloads_refused = 1;
  totals.steering = true;
  totals.open_descriptors = 42;
  totals.kernel_path = KernelPathTotals{.flows = 15, .half_open = 4, .verdicts = {{"forwarded", 12345}, {"no_port", 1}}};
  return totals;
}

}  // namespace

TEST_CASE("every described metric is written once with its HELP and TYPE, and in the table's order") {
  const Scrape scrape = parse(render_prometheus(sample_totals()));
  const auto all = metric_descriptions();
  REQUIRE(scrape.order.size() == all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(all[i].name);
    CHECK(scrape.order[i] == all[i].name);
    CHECK(scrape.help.at(std::string(all[i].name)) == all[i].help);
    CHECK(scrape.type.at(std::string(all[i].name)) == word(all[i].type));
    CHECK(!all[i].help.empty());
    bool written = false;
    for (const Sample& sample : scrape.samples) written = written || sample.name.starts_with(all[i].name);
    CHECK(written);
    CHECK(all[i].name.starts_with("usher_"));
    CHECK((all[i].type == MetricType::counter) == all[i].name.ends_with("_total"));
  }
}

TEST_CASE("values arrive under the names and labels that users rely on") {
  const Scrape scrape = parse(render_prometheus(sample_totals()));
  CHECK(scrape.value("usher_connections_accepted_total", {{"listener", "web"}}) == 100);
  CHECK(scrape.value("usher_connections_active", {{"listener", "web"}}) == 7);
  CHECK(scrape.value("usher_connections_closed_total", {{"listener", "web"}, {"outcome", "served"}}) == 90);
  CHECK(scrape.value("usher_connections_closed_total", {{"listener", "web"}, {"outcome", "idle"}}) == 3);
  CHECK(scrape.value("usher_connections_closed_total", {{"listener", "web"}, {"outcome", "internal"}}) == 0);
  CHECK(scrape.value("usher_bytes_total", {{"listener", "web"}, {"direction", "in"}}) == 123456789012.0);
  CHECK(scrape.value("usher_bytes_total", {{"listener", "web"}, {"direction", "out"}}) == 5);
  CHECK(scrape.value("usher_datapath", {{"listener", "web"}, {"datapath", "proxy"}}) == 1);
  const Labels a{{"pool", "app"}, {"backend", "a"}};
  const auto with = [&a](const std::string& label, const std::string& value) {
    Labels labels = a;
    labels[label] = value;
    return labels;
  };
  CHECK(scrape.value("usher_backend_up", a) == 1);
  CHECK(scrape.value("usher_backend_up", {{"pool", "app"}, {"backend", "b"}}) == 0);
  CHECK(scrape.value("usher_backend_connections_active", a) == 4);
  CHECK(scrape.value("usher_backend_connections_total", a) == 60);
  CHECK(scrape.value("usher_backend_connect_failures_total", with("reason", "timeout")) == 2);
  CHECK(scrape.value("usher_backend_connect_failures_total", with("reason", "refused")) == 0);
  CHECK(scrape.value("usher_backend_bytes_total", with("direction", "in")) == 11);
  CHECK(scrape.value("usher_backend_bytes_total", with("direction", "out")) == 12);
  CHECK(scrape.value("usher_backend_health_checks_total", with("result", "passed")) == 30);
  CHECK(scrape.value("usher_backend_health_checks_total", with("result", "failed")) == 4);
  CHECK(scrape.value("usher_backend_flips_total", a) == 1);
  CHECK(scrape.value("usher_queue_length", {{"pool", "app"}}) == 9);
  CHECK(scrape.value("usher_pool_size", {{"pool", "app"}}) == 2);
  CHECK(scrape.value("usher_config_reloads_total", {{"result", "applied"}}) == 2);
  CHECK(scrape.value("usher_config_reloads_total", {{"result", "refused"}}) == 1);
  CHECK(scrape.value("usher_steering_active", {}) == 1);
  CHECK(scrape.value("usher_open_descriptors", {}) == 42);
  CHECK(scrape.value("usher_worker_turns_total", {{"worker", "3"}}) == 77);
  CHECK(scrape.value("usher_worker_bytes_piped", {{"worker", "3"}}) == 8);
  CHECK(scrape.value("usher_build_info", {{"version", "1.2.3"}}) == 1);
  CHECK(scrape.value("usher_kernel_connections_total", a) == 70);
  CHECK(scrape.value("usher_kernel_established_total", a) == 61);
  CHECK(scrape.value("usher_kernel_refused_total", a) == 6);
  CHECK(scrape.value("usher_kernel_syn_retransmits_total", a) == 3);
  CHECK(scrape.value("usher_kernel_retransmits_total", a) == 21);
  CHECK(scrape.value("usher_kernel_resets_total", a) == 5);
  CHECK(scrape.value("usher_kernel_bytes_total", with("direction", "in")) == 100002);
  CHECK(scrape.value("usher_kernel_bytes_total", with("direction", "out")) == 100004);
  CHECK(scrape.value("usher_kernel_packets_total", with("direction", "in")) == 1001);
  CHECK(scrape.value("usher_kernel_packets_total", with("direction", "out")) == 1003);
  CHECK(scrape.value("usher_kernel_flows_active", a) == 8);
  CHECK(scrape.value("usher_kernel_flows", {}) == 15);
  CHECK(scrape.value("usher_kernel_half_open", {}) == 4);
  CHECK(scrape.value("usher_kernel_verdicts_total", {{"verdict", "forwarded"}}) == 12345);
  CHECK(scrape.value("usher_kernel_verdicts_total", {{"verdict", "no_port"}}) == 1);
}

TEST_CASE("what eBPF doesn't count has no series: a zero would be a claim") {
  const Scrape scrape = parse(render_prometheus(sample_totals()));
  const Labels b{{"pool", "app"}, {"backend", "b"}};
  CHECK(!scrape.value("usher_kernel_connections_total", b));
  CHECK(!scrape.value("usher_kernel_flows_active", b));
  CHECK(!scrape.value("usher_kernel_connect_seconds_count", b));
  Totals without = sample_totals();
  without.kernel_path.reset();
  CHECK(!parse(render_prometheus(without)).value("usher_kernel_flows", {}));
}

TEST_CASE("connect times of the kernel stand in buckets by their upper ends, twice the one before") {
  const Scrape scrape = parse(render_prometheus(sample_totals()));
  std::vector<std::pair<double, double>> buckets;
  for (const Sample& sample : scrape.samples) {
    if (sample.name != "usher_kernel_connect_seconds_bucket") continue;
    const std::string& le = sample.labels.at("le");
    buckets.emplace_back(le == "+Inf" ? std::numeric_limits<double>::infinity() : std::stod(le), sample.value);
  }
  REQUIRE(buckets.size() == KernelTotals::bucket_count);
  CHECK(std::abs(buckets[0].first - 2e-6) < 1e-12);
  CHECK(buckets[0].second == 1);
  CHECK(buckets[6].second == 1);
  CHECK(std::abs(buckets[7].first - 256e-6) < 1e-12);
  CHECK(buckets[7].second == 60);
  CHECK(buckets[30].second == 60);
  CHECK(std::isinf(buckets[31].first));
  CHECK(buckets[31].second == 61);
  const double sum = scrape.value("usher_kernel_connect_seconds_sum", {{"pool", "app"}, {"backend", "a"}}).value();
  CHECK(std::abs(sum - (1.5e-6 + 59 * 192e-6 + 3221.225472)) < 1e-6);
}

TEST_CASE("a quantile of connect times is the upper end of its bucket") {
  KernelTotals totals;
  CHECK(!totals.connect_quantile(0.5));
  totals.connect[7] = 98;
  totals.connect[9] = 2;
  CHECK(totals.connect_quantile(0.0) == Duration(256us));
  CHECK(totals.connect_quantile(0.5) == Duration(256us));
  CHECK(totals.connect_quantile(0.98) == Duration(256us));
  CHECK(totals.connect_quantile(0.99) == Duration(1024us));
  CHECK(totals.connect_quantile(1.0) == Duration(1024us));
  totals.connect[31] = 1000;
  CHECK(totals.connect_quantile(0.99) == Duration(std::chrono::microseconds(std::int64_t{1} << 32)));
}

TEST_CASE("histogram buckets are cumulative, in seconds, and end at +Inf with the count") {
  const Scrape scrape = parse(render_prometheus(sample_totals()));
  const std::vector<std::pair<std::string, Labels>> histograms{
      {"usher_connection_duration_seconds", {{"listener", "web"}}},
      {"usher_connect_duration_seconds", {{"pool", "app"}}}};
  for (const auto& [metric, labels] : histograms) {
    CAPTURE(metric);
    std::vector<std::pair<double, double>> buckets;
    for (const Sample& sample : scrape.samples) {
      if (sample.name != metric + "_bucket") continue;
      const std::string& le = sample.labels.at("le");
      buckets.emplace_back(le == "+Inf" ? std::numeric_limits<double>::infinity() : std::stod(le), sample.value);
    }
    REQUIRE(buckets.size() == DurationHistogram::bucket_count);
    for (std::size_t i = 1; i < buckets.size(); ++i) {
      CHECK(buckets[i].first > buckets[i - 1].first);
      CHECK(buckets[i].second >= buckets[i - 1].second);
    }
    CHECK(std::abs(buckets[0].first - 64e-6) < 1e-12);
    CHECK(buckets[0].second == 1);
    CHECK(buckets[1].second == 3);  // 100 us is below 128 us
    CHECK(buckets[13].second == 3);
    CHECK(buckets[14].second == 4);  // 1 s is below 2^14 * 64 us = 1.05 s, and not below half of that
    CHECK(buckets[22].second == 4);
    CHECK(std::isinf(buckets.back().first));
    CHECK(buckets.back().second == 5);
    CHECK(scrape.value(metric + "_count", labels) == 5);
    CHECK(std::abs(scrape.value(metric + "_sum", labels).value() - 86401.00021) < 1e-6);
  }
}

TEST_CASE("label values with quotes, backslashes and newlines are escaped") {
  Totals totals = sample_totals();
  const std::string awkward = "we\\b \"one\"\nline, {x=\"y\"} \xc3\xa9";
  totals.listeners[0].name = awkward;
  totals.pools[0].backends[0].name = awkward;
  const Scrape scrape = parse(render_prometheus(totals));
  CHECK(scrape.value("usher_connections_active", {{"listener", awkward}}) == 7);
  CHECK(scrape.value("usher_backend_up", {{"pool", "app"}, {"backend", awkward}}) == 1);
}

TEST_CASE("without listeners and pools every metric is still described") {
  const Scrape scrape = parse(render_prometheus(Totals{}));
  CHECK(scrape.type.size() == metric_descriptions().size());
  CHECK(scrape.value("usher_steering_active", {}) == 0);
}
