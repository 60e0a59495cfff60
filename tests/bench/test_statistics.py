"""The arithmetic of the comparison: medians, spreads, added CPU, ratios round by round, verdicts."""
import math

import pytest

from usher_compare import analysis
from usher_compare.statistics import Spread, added, best, median, ratios, spread, verdict


def test_the_median_of_an_even_number_lies_between_the_middle_two():
    assert (median([3, 1, 2]), median([4, 1, 3, 2])) == (2, 2.5)
    with pytest.raises(ValueError):
        median([])


def test_a_spread_leaves_out_what_is_unknown():
    assert spread([2.0, None, 1.0, math.nan, 9.0]) == Spread(2.0, 1.0, 9.0, 3)
    assert spread([None, math.nan]) is None


def test_added_cpu_is_formed_in_the_same_round_only():
    assert added({0: 5.0, 1: 6.0, 2: 7.0}, {0: 2.0, 2: 3.0}) == {0: 3.0, 2: 4.0}


def test_the_best_peer_is_the_one_with_the_lowest_median():
    assert best({"a": {0: 1.0, 1: 9.0, 2: 9.0}, "b": {0: 5.0, 1: 5.0, 2: 5.0}, "c": {}}) == "b"
    assert best({"a": {}}) is None


def test_a_peer_below_noise_gives_no_ratio():
    assert ratios({0: 1.0, 1: 1.0, 2: 1.0}, {0: 2.0, 1: 0.0, 2: -1.0}) == {0: 0.5}


@pytest.mark.parametrize(("ratio", "says"), [
    (Spread(0.5, 0.4, 0.6, 3), "met"), (Spread(0.5, 0.4, 0.9, 3), "met by the median"), (Spread(0.9, 0.6, 1.0, 3), "missed by the median"),
    (Spread(0.9, 0.8, 1.0, 3), "missed"), (None, "no result (or below noise)")])
def test_a_verdict_says_where_the_spread_spans_the_target(ratio, says):
    assert verdict(ratio, 0.7) == says


def test_ratios_of_added_cpu_are_formed_round_by_round_against_the_best_peer(results):
    step, = analysis.steps(results["scenarios"][0], results["contenders"])
    assert step.best_peer == "haproxy"  # medians 20 and 30, although nginx was better in the last round
    assert step.added_spread("usher").median * 1e6 == pytest.approx(12)
    ratio = step.ratio("usher")
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((0.5, 0.35, 0.6))
    assert step.ratio("haproxy") is None and step.ratio("nginx").median == pytest.approx(1.5)


def test_latency_is_compared_with_the_peer_whose_p99_is_best(results):
    rows = [row for row in analysis.targets(results) if row[1] == "p99 at equal rate"]
    assert [(row[0], row[3], row[6]) for row in rows] == [("echo_latency, 25%", "haproxy", "met"), ("echo_latency, 50%", "haproxy", "met")]


def test_memory_is_compared_with_a_figure(results):
    row = next(row for row in analysis.targets(results) if row[0].startswith("idle_many"))
    assert (row[2], row[3], row[5].median, row[6]) == ("usher", None, 480.0, "missed")


def test_a_round_without_direct_has_no_added_cpu(results):
    scenario = results["scenarios"][0]
    scenario["measurements"] = [one for one in scenario["measurements"] if one["contender"] != "direct" or one["round"] != 1]
    step, = analysis.steps(scenario, results["contenders"])
    assert sorted(step.added["usher"]) == [0, 2]


def test_two_ushers_are_compared_with_the_first(results):
    scenario = results["scenarios"][0]
    results["contenders"]["usher-new"] = results["contenders"]["usher"]
    scenario["contenders"] = [*scenario["contenders"], "usher-new"]
    scenario["measurements"] += [one | {"contender": "usher-new", "cpu_per_unit": one["cpu_per_unit"] + 10e-6}
                                 for one in scenario["measurements"] if one["contender"] == "usher"]
    step, = analysis.steps(scenario, results["contenders"])
    added_cpu, own, p99, tenth = step.against_first_usher("usher-new")
    assert added_cpu.median == pytest.approx(22 / 12) and own.median == pytest.approx(1) and p99.median == pytest.approx(1)
    assert tenth is None  # a run of before
