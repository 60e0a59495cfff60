"""The knee: found by halving, with a measurement that is made up: always the same, noisy, everything, nothing."""
import contextlib
import types

import pytest

from usher_compare import analysis, knee, plugins, report
from usher_compare.failure import Spoiled


def asked(answers):
    """(`answers` that notes what it was asked, the notes)."""
    rates = []

    def ask(rate):
        rates.append(rate)
        return answers(rate)
    return ask, rates


@pytest.mark.parametrize("steps", [1, 3, 5, 12])
@pytest.mark.parametrize("true_knee", [4_000, 31_999, 32_000, 50_000, 63_999])
def test_the_knee_is_found_to_a_power_of_two_and_never_above(true_knee, steps):
    ask, rates = asked(lambda rate: rate <= true_knee)
    found = knee.find(64_000, ask, steps) or 0
    assert found <= true_knee < found + 64_000 / 2**steps + 1
    assert len(rates) <= steps * knee.TRIES


def test_one_disturbed_try_doesnt_make_a_rate_too_high():
    tries = {}

    def every_second_fails(rate):
        tries[rate] = tries.get(rate, 0) + 1
        return rate <= 50_000 and tries[rate] == 2
    assert knee.find(64_000, every_second_fails, 5) == 50_000


def test_a_rate_that_is_kept_up_with_at_once_isnt_asked_for_again():
    ask, rates = asked(lambda rate: True)
    assert knee.find(64_000, ask, 5) == 62_000  # the last step below the bound
    assert rates == [32_000, 48_000, 56_000, 60_000, 62_000]


def test_who_keeps_up_with_nothing_has_no_knee():
    ask, rates = asked(lambda rate: False)
    assert knee.find(64_000, ask, 5) is None
    assert rates == [rate for rate in (32_000, 16_000, 8_000, 4_000, 2_000) for _ in range(2)]


@pytest.mark.parametrize(("bound", "found"), [(0, None), (1, None), (2.9, 1), (3, 2)])
def test_a_tiny_bound_ends_the_search(bound, found):
    assert knee.find(bound, lambda rate: True, steps=50) == found


def seen(rate, late=0, p50=0.0002):
    return {"rate": rate, "late_sends": late, "latency": {"p50": p50}}


@pytest.mark.parametrize(("measurement", "kept_up"), [
    (seen(10_000), True),
    (seen(9_700), False),              # answered too few
    (seen(10_000, late=400), True),    # a stall of 8 ms makes 80 late, and the queue behind it some more
    (seen(10_000, late=600), False),
    (seen(10_000, p50=0.002), False),  # half of them waited in a queue
    (seen(10_000, late=None), True),
    ({"rate": 10_000, "late_sends": 0, "latency": {}}, False)])
def test_keeping_up_bears_a_stall_and_no_queue(measurement, kept_up):
    assert knee.keeps_up(10_000, 0.5, measurement) is kept_up


def test_the_slowest_balancer_sets_the_rates_and_direct_doesnt():
    families = {"direct": "direct", "usher": "usher", "nginx": "nginx"}
    assert knee.slowest({"direct": 10, "usher": 30, "nginx": 20}, families) == "nginx"
    assert knee.slowest({"direct": 10}, families) == "direct"
    assert knee.slowest({}, families) is None


class Loaded:
    """A turn whose contender does `limit` in a closed loop, and keeps up with `true_knee` in an open one."""

    address = "10.78.1.1:700"
    seconds = 3.0
    stage = types.SimpleNamespace(warmup=0.5, search=knee.FULL)

    def __init__(self, limit, true_knee):
        self.limit, self.true_knee = limit, true_knee

    def load(self, *words, seconds, warmup):
        assert seconds <= 1 and warmup < 0.5
        if "--rate" not in words:
            return seen(self.limit)
        rate = words[words.index("--rate") + 1]
        return seen(rate) if rate <= self.true_knee else seen(self.true_knee, late=rate)


class Standing:
    """A stage whose turns need no namespaces; the first turns of some contenders are spoiled."""

    seconds = 3.0
    search = knee.FULL

    def __init__(self, turns, spoiled):
        self.turns, self.spoiled, self.said = turns, spoiled, []

    def say(self, text):
        self.said.append(text)

    @contextlib.contextmanager
    def turn(self, _, contender, number):
        if self.spoiled.get(contender.name, 0) > 0:
            self.spoiled[contender.name] -= 1
            raise Spoiled("errors: reset 1")
        yield self.turns[contender.name]


def prepared(spoiled):
    turns = {"direct": Loaded(90_000, 30_000), "usher": Loaded(80_000, 60_000), "nginx": Loaded(64_000, 48_000), "stuck": Loaded(64_000, 0)}
    contenders = [types.SimpleNamespace(name=name, family=name) for name in turns]
    scenario = plugins.scenarios()["echo_latency"]()
    return scenario.prepare(Standing(turns, spoiled), contenders), scenario.prepared


def test_rates_are_parts_of_the_slowest_knee():
    failed, found = prepared({})
    assert found["closed_loop_rates"] == {"direct": 90_000, "usher": 80_000, "nginx": 64_000}
    assert found["knees"] == {"direct": 28_125, "usher": 60_000, "nginx": 48_000}
    assert found["slowest"] == "nginx" and found["rates"] == {"25%": 12_000, "50%": 24_000, "75%": 36_000}
    assert list(failed) == ["stuck"] and "no open loop" in failed["stuck"]


def test_a_search_that_was_spoiled_is_repeated_twice():
    failed, found = prepared({"usher": 2, "nginx": 3})
    assert "usher" in found["knees"] and found["slowest"] == "usher"
    assert failed["nginx"] == "its limit could not be found: errors: reset 1"


def test_limits_and_knees_are_shown_side_by_side(results):
    assert "Closed-loop limits (requests/s): usher 9.00." in report.markdown(results)  # a report of before
    results["scenarios"][1]["prepared"] = {"closed_loop_rates": {"direct": 90_000.0, "usher": 80_000.0}, "slowest": "usher", "steps": 5,
                                           "knees": {"direct": 70_000, "usher": 42_000}, "rates": {"25%": 10_500}}
    text = report.markdown(results)
    assert "| direct | 90,000 | 70,000 |" in text and "| usher | 80,000 | 42,000 (sets the rates) |" in text
    assert "by halving in 5 steps, to 1/32 of the limit" in text


def test_a_search_that_was_disturbed_is_warned_about(results):
    results["scenarios"][1]["prepared"] = {"closed_loop_rates": {"usher": 80_000.0, "nginx": 80_000.0}, "slowest": "usher", "steps": 5,
                                           "knees": {"usher": 10_000, "nginx": 42_000}, "rates": {}}
    said, = analysis.warnings(results)
    assert "the knee of usher was found far below" in said
