"""The report of bench/micro/run: what stands in it, rendered from a run that never happened."""
import copy
import importlib.util
import json

import pytest

from conftest import ROOT

_spec = importlib.util.spec_from_file_location("micro_report", ROOT / "bench/micro/report.py")
report = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(report)

LINES = {"policy": {"about": "Choosing.", "pick_1": "one backend"}}


def repetition(name, nanoseconds, **more):
    return {"run_name": name, "run_type": "iteration", "family_index": 0, "per_family_instance_index": 0, "iterations": 10,
            "repetition_index": 0, "threads": 1, "real_time": nanoseconds, "cpu_time": nanoseconds, "time_unit": "ns"} | more


def whole(times, passed=True):
    name = "pick_1/random/backends:1000"
    return {"machine": {"kernel": "6.1"}, "repetitions": len(times), "min_time_s": 0.1, "others_busy": 0.0,
            "allocation_test": {"passed": passed, "said": "All tests passed"},
            "programs": {"policy": report.figures_of([repetition(name, time) for time in times])}}


@pytest.mark.parametrize(("times", "said"), [([18, 19, 20], "met"), ([18, 19, 21], "met by the median"), ([19, 21, 22], "missed by the median"),
                                             ([21, 22, 23], "missed")])
def test_a_target_is_met_as_far_as_the_repetitions_go(times, said):
    row = next(line for line in report.in_markdown(whole(times), LINES).splitlines() if "a pick at 1,000 backends, random" in line)
    assert row.endswith(f"| {said} |")


def test_a_test_that_failed_or_was_not_run_is_no_target_met():
    assert "| missed |" in report.in_markdown(whole([1], passed=False), LINES)
    unknown = whole([1]) | {"allocation_test": None}
    assert "test_worker wasn't built" in report.in_markdown(unknown, LINES)


def test_the_json_says_what_was_given_a_line_a_benchmark():
    run = whole([18, 19, 20])
    text = report.in_json(copy.deepcopy(run))
    assert json.loads(text) == run
    assert sum("pick_1" in line for line in text.splitlines()) == 1


def test_what_was_skipped_says_why_and_has_no_figure():
    figures = report.figures_of([repetition("touch", 0, error_occurred=True, error_message="not here: no pages")])
    assert figures == {"touch": {"not": "not here: no pages"}}
    assert report.cell_of(figures["touch"]) == "not here: no pages"


def test_how_it_was_timed_is_no_argument():
    figures = report.figures_of([repetition("accept/call/iterations:2048/manual_time", 2_000)])
    assert list(figures) == ["accept/call"]


def test_a_machine_that_others_used_is_warned_of():
    assert "a hint, no more" not in report.in_markdown(whole([1]), LINES)
    assert "a hint, no more" in report.in_markdown(whole([1]) | {"others_busy": 0.5}, LINES)
