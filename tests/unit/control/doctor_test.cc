// The doctor's judgement: facts in, findings out.
#include "usher/control/doctor.h"

#include <algorithm>
#include <cerrno>
#include <catch2/catch_test_macros.hpp>

#include "control/kernel_way.h"

using namespace usher;

namespace {

HostFacts healthy() {
  HostFacts facts;
  facts.descriptors_max = 1'048'576;
  facts.pipe_pages = 0;
  facts.workers = 4;
  facts.may_bpf = facts.may_net_admin = facts.may_perfmon = facts.btf = facts.bpf_file_system = true;
  facts.interfaces = {{"lo", false}, {"eth0", true}};
  facts.ports = {{1024, 32767}};
  return facts;
}

Config one_listener(Datapath datapath) {
  Config config;
  ListenerConfig listener;
  listener.name = "web";
  listener.pool = "app";
  listener.datapath = datapath;
  config.listeners.push_back(listener);
  return config;
}

Finding finding(const std::vector<Finding>& findings, std::string_view what) {
  const auto found = std::ranges::find(findings, what, &Finding::what);
  REQUIRE(found != findings.end());
  return *found;
}

}  // namespace

TEST_CASE("doctor: a healthy host is ok throughout, and nothing has a cure") {
  for (const Finding& one : judge_host(healthy(), one_listener(Datapath::kernel))) {
    INFO(one.what);
    CHECK(one.fitness == Fitness::ok);
    CHECK(one.cure.empty());
    CHECK_FALSE(one.says.empty());
  }
}

TEST_CASE("doctor: without io_uring there is no usher, and the cure fits the reason") {
  HostFacts facts = healthy();
  facts.io_uring = Error{"io_uring_setup: Operation not permitted", EPERM};
  facts.io_uring_disabled = 2;
  const auto disabled = finding(judge_host(facts, std::nullopt), "io_uring");
  CHECK(disabled.fitness == Fitness::missing);
  CHECK(disabled.needed);
  CHECK(disabled.cure == "sysctl kernel.io_uring_disabled=0");
  facts.io_uring_disabled = 0;
  CHECK(finding(judge_host(facts, std::nullopt), "io_uring").cure.find("seccomp") != std::string::npos);
}

TEST_CASE("doctor: descriptors are measured against global.max_connections") {
  HostFacts facts = healthy();
  facts.descriptors_max = 20'000;
  CHECK(finding(judge_host(facts, std::nullopt), "descriptors").fitness == Fitness::degraded);
  Config config = one_listener(Datapath::proxy);
  config.global.max_connections = 5'000;
  CHECK(finding(judge_host(facts, config), "descriptors").fitness == Fitness::ok);
  facts.descriptors_max = 64;
  CHECK(finding(judge_host(facts, config), "descriptors").fitness == Fitness::missing);
}

TEST_CASE("doctor: the ration of pipe pages binds who has no privilege") {
  HostFacts facts = healthy();
  facts.pipe_pages = 1024;
  const auto bound = finding(judge_host(facts, std::nullopt), "pipe pages");
  CHECK(bound.fitness == Fitness::degraded);
  CHECK(bound.cure.starts_with("sysctl fs.pipe-user-pages-soft="));
  facts.beyond_ration = true;
  CHECK(finding(judge_host(facts, std::nullopt), "pipe pages").fitness == Fitness::ok);
}

TEST_CASE("doctor: without the privilege a file that insists on the kernel lacks something; auto takes the proxy") {
  HostFacts facts = healthy();
  facts.may_bpf = facts.may_net_admin = facts.may_perfmon = false;
  facts.kernel_path = Error{"loading the kernel datapath refused: Operation not permitted; needs CAP_BPF", EPERM};
  CHECK(finding(judge_host(facts, std::nullopt), "privilege").fitness == Fitness::missing);
  const auto insists = finding(judge_host(facts, one_listener(Datapath::kernel)), "listener web");
  CHECK(insists.fitness == Fitness::missing);
  CHECK(insists.needed);
  CHECK(insists.says == "the proxy: the privilege is missing");
  CHECK(insists.cure == "see privilege");
  const auto automatic = finding(judge_host(facts, one_listener(Datapath::automatic)), "listener web");
  CHECK(automatic.fitness == Fitness::degraded);
  CHECK(finding(judge_host(facts, one_listener(Datapath::proxy)), "listener web").fitness == Fitness::ok);
}

TEST_CASE("doctor: a kernel without tcx has the kernel datapath all the same") {
  HostFacts facts = healthy();
  facts.clsact = true;
  const auto tcx = finding(judge_host(facts, std::nullopt), "tcx");
  CHECK(tcx.fitness == Fitness::degraded);
  CHECK(tcx.says.find("clsact") != std::string::npos);
  CHECK_FALSE(tcx.cure.empty());
  CHECK(finding(judge_host(facts, one_listener(Datapath::kernel)), "listener web").fitness == Fitness::ok);
  facts.kernel_path = Error{"attaching to interface lo by a clsact filter refused: No such file or directory", ENOENT};
  CHECK(finding(judge_host(facts, std::nullopt), "tcx").fitness == Fitness::missing);
}

TEST_CASE("doctor: an obstacle of a listener is said in its own line") {
  HostFacts facts = healthy();
  facts.obstacles = {{"web", "backend a is on this machine", "say so"}};
  CHECK(finding(judge_host(facts, one_listener(Datapath::automatic)), "listener web").says == "the proxy: backend a is on this machine");
  CHECK(finding(judge_host(facts, one_listener(Datapath::automatic)), "listener web").cure == "say so");
}

TEST_CASE("doctor: global.user keeps what the kernel datapath needs") {
  Config config = one_listener(Datapath::kernel);
  config.global.user = "usher";
  CHECK(finding(judge_host(healthy(), config), "listener web").fitness == Fitness::ok);
  CHECK(finding(judge_host(healthy(), config), "privilege").says.find("global.user = \"usher\"") != std::string::npos);
}

TEST_CASE("doctor: whatever isn't ok has a cure, whatever is missing") {
  HostFacts facts;  // nothing works
  facts.io_uring = facts.kernel_path = facts.sock_ops = facts.reuseport = facts.network = Error{"refused", EPERM};
  facts.pipe_pages = 16;
  facts.descriptors_max = 20'000;
  for (const bool privileged : {false, true}) {
    facts.may_bpf = facts.may_net_admin = facts.may_perfmon = privileged;
    for (const bool mounted : {false, true}) {
      facts.bpf_file_system = mounted;
      facts.pins = Error{"can't write", EACCES};
      for (const Finding& one : judge_host(facts, one_listener(Datapath::kernel))) {
        INFO(one.what << ": " << one.says);
        CHECK(one.cure.empty() == (one.fitness == Fitness::ok));
      }
    }
  }
}

TEST_CASE("doctor: each capability that is missing is named, and the drop-in that gives it") {
  HostFacts facts = healthy();
  facts.may_perfmon = false;
  facts.kernel_path = Error{"refused", EACCES};
  const auto privilege = finding(judge_host(facts, std::nullopt), "privilege");
  CHECK(privilege.fitness == Fitness::degraded);
  CHECK(privilege.says.starts_with("no CAP_PERFMON: the proxy serves"));
  CHECK(privilege.cure.find("usher.service.d/kernel.conf") != std::string::npos);
  CHECK(finding(judge_host(facts, one_listener(Datapath::kernel)), "listener web").says == "the proxy: the privilege is missing");
}

TEST_CASE("doctor: interfaces that can't be listed aren't interfaces that aren't there") {
  HostFacts facts = healthy();
  facts.interfaces.clear();
  facts.network = Error{"listing the interfaces: rtnetlink: Address family not supported by protocol", EAFNOSUPPORT};
  const auto interfaces = finding(judge_host(facts, std::nullopt), "interfaces");
  CHECK(interfaces.says.find("rtnetlink") != std::string::npos);
  CHECK(interfaces.cure.find("AF_NETLINK") != std::string::npos);
  CHECK(why_not_here(ListenerConfig{.kernel_mode = Forwarding::dnat}, PoolConfig{.picker = {.algorithm = Algorithm::maglev}},
                     std::unexpected(*facts.network), {})
            ->why == facts.network->message);
}

TEST_CASE("kernel way: interfaces that are named must be there and speak Ethernet; unnamed, all that fit are taken") {
  const std::vector<Interface> interfaces{{1, "lo", true, true, true}, {2, "eth0", true, false, true}, {3, "eth1", false, false, true}, {4, "wg0", true, false, false}};
  ListenerConfig listener;
  CHECK(kernel_interfaces(listener, interfaces).value() == std::vector<std::uint32_t>{2});
  listener.interfaces = {"eth1", "eth0"};
  CHECK(kernel_interfaces(listener, interfaces).value() == std::vector<std::uint32_t>{3, 2});
  listener.interfaces = {"wg0"};
  CHECK(kernel_interfaces(listener, interfaces).error().message == "packets on wg0 have no Ethernet header");
  listener.interfaces = {"eth7"};
  CHECK(kernel_interfaces(listener, interfaces).error().message == "there is no interface eth7");
  listener.interfaces = {};
  CHECK_FALSE(kernel_interfaces(listener, {interfaces[0]}));
  CHECK(why_no_ports(listener, {}));
  listener.kernel_mode = Forwarding::dnat;
  CHECK_FALSE(why_no_ports(listener, {}));
}
