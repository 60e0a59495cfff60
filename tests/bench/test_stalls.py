"""The stall meter: what it makes of gaps between two looks at the clock."""
import os

import pytest

from usher_compare import analysis, report, stalls


def clock(steps_us):
    """A clock that goes on by these steps, then by 100 ns for ever."""
    now = 0
    left = list(steps_us)

    def look():
        nonlocal now
        now += int(left.pop(0) * 1000) if left else 100
        return now
    return look


def test_gaps_are_what_lies_too_far_apart():
    elapsed, found = stalls.gaps(clock([0, 0.1, 8000, 3, 199, 0.1, 250]), 0.01)
    assert found == pytest.approx([0.008, 0.00025])  # 3 us are an interrupt, 199 us are let pass
    assert elapsed == pytest.approx(0.01)


def test_a_gap_that_outlasts_the_time_is_counted_whole():
    elapsed, found = stalls.gaps(clock([0, 50_000]), 0.01)
    assert (elapsed, found) == (pytest.approx(0.05), pytest.approx([0.05]))


def test_a_summary_is_share_longest_and_how_often():
    one = stalls.summary(1, 2.0, [0.008, 0.0005, 0.0015], 0.001)
    assert one == pytest.approx({"core": 1, "seconds": 2.0, "share": 0.005, "longest": 0.008, "long_per_second": 1.0,
                                 "to_programs_share": 0.0005})
    assert stalls.summary(0, 1.0, [], None) == {"core": 0, "seconds": 1.0, "share": 0.0, "longest": 0.0, "long_per_second": 0.0,
                                                "to_programs_share": None}
    assert stalls.parse_waited("123456789 2500000 17\n") == 0.0025


def test_each_processor_is_watched_once_and_the_affinity_comes_back():
    home = os.sched_getaffinity(0)
    core = min(home)
    watched = stalls.watch((core, core), 0.01)
    assert [one["core"] for one in watched] == [core] and watched[0]["seconds"] >= 0.01
    assert os.sched_getaffinity(0) == home


def test_the_report_shows_what_was_taken_away_and_warns_where_it_was_much(results):
    assert "processor taken away" not in report.markdown(results)  # a report of before
    results["fingerprint"]["stalls"] = [stalls.summary(0, 1.0, [0.0015], 0.0), stalls.summary(1, 1.0, [0.0015], None)]
    text = report.markdown(results)
    assert ("| processor taken away | processor 0: 0.15% of the time (other programs here had 0.00%), the longest 1.5 ms, 1 a second over 1 ms; "
            "processor 1: 0.15% of the time, the longest 1.5 ms, 1 a second over 1 ms |") in text
    assert analysis.warnings(results) == []
    results["fingerprint"]["stalls"][1] = stalls.summary(1, 1.0, [0.0015, 0.0015], None)
    said, = analysis.warnings(results)
    assert "processor 1: 0.30% of the time" in said and "tells of the machine as much as of the contender" in said
