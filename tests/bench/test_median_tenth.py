"""The p99 of the median tenth: where it comes from, and where the report shows it."""
import pytest

from usher_compare import analysis, report, scenario
from usher_compare.cpu import Clock, Usage
from usher_compare.loader import median_of_slices


@pytest.mark.parametrize(("slices", "middle"), [
    (None, None), ([], None), ([None] * 10, None), ([None] * 6 + [0.001] * 4, None), ([None] * 5 + [0.001, 0.002, 0.003, 4, 9], 0.003),
    ([0.002] * 9 + [0.5], 0.002)])
def test_the_median_tenth_is_of_those_that_are_known(slices, middle):
    assert median_of_slices(slices) == middle


@pytest.mark.parametrize(("slices", "middle"), [
    ({"slices_p99": [0.001, 0.003, None, 0.002]}, 0.002), ({"slices_p99": None}, None), ({}, None)])
def test_a_measurement_takes_the_median_tenth_from_the_load_generator(slices, middle):
    counts = {"requests": 100, "connects": 1, "bytes_sent": 1, "bytes_received": 1}
    said = {"total": counts, "measured": counts, "errors": {"total": 0}, "duration_seconds": 1.0, "rate": 100,
            "latency": {"count": 100, "p50": 0.001, "p99": 0.4}} | slices
    one = scenario.measured(said, "request", Clock(0.0, 0.0, 0.0, 2), Clock(1.0, 1.0, 0.0, 2), Usage())
    assert one["latency"]["p99_median_tenth"] == middle and one["latency"]["p99"] == 0.4


def with_tenths(results):
    """The run with a p99 of the median tenth: usher's is a fifth of its p99, everybody else's a half."""
    for one in results["scenarios"][1]["measurements"]:
        one["latency"]["p99_median_tenth"] = one["latency"]["p99"] * (0.2 if one["contender"] == "usher" else 0.5)
    return results


def test_the_median_tenth_is_a_column_and_a_row_of_the_targets_beside_p99(results):
    assert "p99 of the median tenth (" not in report.markdown(results)
    before = [row for row in analysis.targets(results) if row[1] != "p99 of the median tenth"]
    assert before == analysis.targets(results)
    rows = analysis.targets(with_tenths(results))
    assert [row for row in rows if row[1] != "p99 of the median tenth"] == before
    mine = [row for row in rows if row[1] == "p99 of the median tenth"]
    assert [(row[2], row[3], row[4]) for row in mine] == [("usher", "haproxy", 1.0)] * 2
    assert mine[0][5].median == pytest.approx(0.4 * next(row for row in before if row[1].startswith("p99"))[5].median)
    text = report.markdown(results)
    assert "| p50 (µs) | p99 of the median tenth (µs) | p99 (µs) | p99.9 (µs) |" in text
    assert "| echo_latency, 25% | p99 of the median tenth | usher | haproxy | <= 1 |" in text
