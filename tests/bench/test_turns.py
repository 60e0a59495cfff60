"""A turn: what begins only when its contender answers, and ends only when its connections are gone."""
import contextlib
import types

import pytest

from usher_compare import runner
from usher_compare.failure import Spoiled


def stage(client, backend):
    """A stage whose namespaces count sockets as told, one number a question, the last one for ever."""
    def counting(numbers):
        left = list(numbers)
        return types.SimpleNamespace(sockets=lambda: left.pop(0) if len(left) > 1 else left[0], asked=left)
    network = types.SimpleNamespace(client=counting(client), backend=counting(backend))
    return runner.Stage(network, None, None, 1.0, 0.1, 1000, lambda _: None), network


def test_a_turn_ends_when_both_sides_have_closed_so_that_no_backend_keeps_sessions_of_a_balancer_that_is_gone():
    one, network = stage([3, 0, 0, 0], [9, 9, 1])
    one.part(1)
    assert network.client.asked == [0] and network.backend.asked == [1]


def test_waiting_for_the_end_is_bounded(monkeypatch):
    monkeypatch.setattr(runner, "PART_SECONDS", 0.05)
    one, _ = stage([1], [1])
    one.part(1)


class Flaky:
    """A scenario whose first turns give no result."""

    name, unit = "flaky", "request"

    def __init__(self, failures):
        self.failures = failures

    def prepare(self, *_):
        return {}

    def turn(self, turn):
        if self.failures:
            self.failures -= 1
            raise Spoiled("errors: reset 1")
        turn.measurements.append({"contender": "x", "round": turn.number, "cpu_per_unit": 1e-6})


class Standing:
    """A stage whose turns need no namespaces."""

    @staticmethod
    def say(_):
        pass

    def turn(self, _, contender, number):
        return contextlib.nullcontext(types.SimpleNamespace(contender=contender, number=number, measurements=[]))


@pytest.mark.parametrize(("failures", "results", "spoiled", "failed"), [
    (0, 2, 0, {}), (2, 2, 2, {}), (3, 0, 3, {"x": "errors: reset 1"})])
def test_a_turn_with_errors_is_repeated_twice_and_then_its_contender_has_failed(monkeypatch, failures, results, spoiled, failed):
    monkeypatch.setattr(runner.cpu, "busy_share_at_rest", lambda _: 0.0)
    contender = types.SimpleNamespace(name="x")
    record = runner.Record(Flaky(failures), [contender], 2)
    runner.run_scenario(Standing(), record, [contender], 2)
    assert (len(record.measurements), len(record.spoiled), record.failed) == (results, spoiled, failed)
