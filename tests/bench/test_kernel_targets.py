"""The kernel datapath in the comparison: its own targets beside the proxy's, from a run that never happened."""
import sys

import pytest

from conftest import contender, measurement
from usher_compare import analysis, arguments, main, plugins, report, statistics
from usher_compare.contender import Setup
from usher_compare.statistics import Spread

# CPU of a request in microseconds, by round. Added: kernel 1, 2, 1; nftables 4, 5, 4 (haproxy 20, 20, 40 and direct as in conftest).
KERNEL, NFTABLES = (101, 112, 91), (104, 115, 94)


class Places:
    """As much of a Network as a configuration asks for."""

    class balancer:
        ip = "10.78.1.1"


@pytest.fixture
def with_kernel(results):
    """The small run, with the kernel datapath and nftables in every scenario."""
    results["contenders"]["usher"]["datapath"] = "proxy"
    results["contenders"] |= {"kernel": contender("usher") | {"datapath": "kernel"}, "nftables": contender("nftables")}
    keepalive, latency, idle = results["scenarios"]
    keepalive["kernel_target"], latency["kernel_target_p99"], idle["kernel_target_memory"] = 0.10, 1.1, 0
    for scenario in results["scenarios"]:
        scenario["contenders"] = [*scenario["contenders"], "kernel", "nftables"]
    keepalive["measurements"] += [measurement(name, number, cpu / 1e6) for name, values in (("kernel", KERNEL), ("nftables", NFTABLES))
                                  for number, cpu in enumerate(values)]
    latency["measurements"] += [measurement("kernel", number, 0.0001, step, p99 * (0.001 + 0.0001 * number))
                                for step, p99 in (("25%", 1.05), ("50%", 1.2)) for number in range(2)]
    idle["measurements"] += [measurement("kernel", 0, 0.0001, "beside", extra={"sessions": 9000, "bytes_per_session": 0.4, "process_bytes": 1 << 20})]
    return results


def rows_of(results, name):
    return [row for row in analysis.targets(results) if row[2] == name]


def test_the_kernel_is_held_to_the_peer_to_nftables_to_direct_and_to_nothing(with_kernel):
    said = {(label, what, against): (target, spread and round(spread.median, 3), verdict)
            for label, what, _, against, target, spread, verdict in rows_of(with_kernel, "kernel")}
    assert said == {
        ("keepalive_small", "added CPU", "haproxy"): (0.10, 0.05, "met"),
        ("keepalive_small", "added CPU", "nftables"): (0.5, 0.25, "met"),
        ("echo_latency, 25%", "p99 at equal rate", "direct"): (1.1, 1.05, "met"),
        ("echo_latency, 50%", "p99 at equal rate", "direct"): (1.1, 1.2, "missed"),
        ("idle_many, beside", "user memory a session (bytes)", None): (0, 0, "met"),
    }


def test_the_proxys_targets_stay_as_they_are(results, with_kernel):
    said = [(label, what, against, target) for label, what, _, against, target, *_ in rows_of(with_kernel, "usher")]
    assert said == [("keepalive_small", "added CPU", "haproxy", 0.85), ("echo_latency, 25%", "p99 at equal rate", "haproxy", 1.0),
                    ("echo_latency, 50%", "p99 at equal rate", "haproxy", 1.0), ("idle_many, beside", "user memory a session (bytes)", None, 400)]


def test_a_report_of_before_knows_the_proxy_only(results):
    assert {row[2] for row in analysis.targets(results)} == {"usher"}


def test_below_noise_is_as_good_as_half_of_nftables(with_kernel):
    for one in with_kernel["scenarios"][0]["measurements"]:
        if one["contender"] == "kernel" and one["round"] == 0:
            one["cpu_per_unit"] = 99.5e-6
        elif one["contender"] == "kernel":
            one["cpu_per_unit"] += 5e-6
    row, = (row for row in rows_of(with_kernel, "kernel") if row[3] == "nftables")
    assert row[5].median > 0.5 and row[6] == "met: below noise"


def test_without_nftables_or_direct_the_rows_are_left_out(with_kernel):
    for scenario in with_kernel["scenarios"]:
        scenario["contenders"].remove("nftables")
        scenario["contenders"].remove("direct")
    against = [row[3] for row in rows_of(with_kernel, "kernel")]
    assert "nftables" not in against and "direct" not in against


@pytest.mark.parametrize(("values", "expected"), [((0.4, -0.4, 0.49), (0, 0, 0)), ((240.4, 239.6, 241.0), (240, 240, 241))])
def test_bytes_are_counted_whole(values, expected):
    assert statistics.whole(Spread(*values, 3)) == Spread(*expected, 3)
    assert statistics.whole(None) is None


def test_noise_is_where_some_round_added_nothing():
    assert statistics.within_noise(Spread(0.5, 0.0, 1.0, 3)) and statistics.within_noise(Spread(-1.0, -2.0, 1.0, 3))
    assert not statistics.within_noise(Spread(0.5, 0.1, 1.0, 3)) and not statistics.within_noise(None)


def test_the_report_names_both_datapaths(with_kernel):
    text = report.markdown(with_kernel)
    assert "| keepalive_small | added CPU | kernel | nftables | <= 0.5 | 0.250 [0.250 .. 0.400] | met |" in text
    assert "**kernel**" in text and "**usher**" in text


def test_every_target_of_the_measuring_document_is_there():
    scenarios = plugins.scenarios()
    assert {name: one.kernel_target for name, one in scenarios.items() if one.kernel_target is not None} == {
        "keepalive_small": 0.10, "short_connections": 0.12, "bulk_one": 0.05, "bulk_many": 0.05}
    assert {name for name, one in scenarios.items() if one.kernel_target_p99} == {"echo_latency"} and analysis.NFTABLES_TARGET == 0.5
    assert {name: one.kernel_target_memory for name, one in scenarios.items() if one.kernel_target_memory is not None} == {"idle_many": 0}


def test_the_kernel_is_the_same_build_with_another_datapath():
    made, = main.make_contenders(arguments.parse(["--contender", "kernel"]), plugins.contenders(), "/built/usher")
    assert (made.name, made.binary, made.datapath, made.family) == ("kernel", "/built/usher", "kernel", "usher")
    text = made.configuration(Setup(Places, "/d", [("10.78.2.2", 800)], 100, 1000))
    assert all(line in text for line in ('datapath = "kernel"', 'kernel_mode = "nat"', 'algorithm = "two_choices"', "ip_local_reserved_ports"))
    assert main.needs_default_usher(arguments.parse(["--contender", "kernel"]))
    given = arguments.parse(["--contender", "direct,kernel", "--usher", f"base={sys.executable}"])
    assert str(main.make_contenders(given, plugins.contenders(), None)[1].binary) == str(given.variants[0].binary)
    assert not main.needs_default_usher(given)
    assert not plugins.contenders()["kernel"].in_quick
