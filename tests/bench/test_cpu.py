"""Reading the kernel's figures: busy time from idle time, a process's own time, context switches, memory."""
import os

import pytest

from usher_compare import cpu

STAT = """cpu  100 0 50 1000 200 0 10 {stolen} 0 0
cpu0 50 0 25 500 100 0 5 0 0 0
cpu1 50 0 25 500 100 0 5 0 0 0
intr 1 2 3
"""


def clock(idle, iowait, at, stolen=0):
    return cpu.parse_stat(f"cpu  0 0 0 {idle} {iowait} 0 0 {stolen} 0 0\ncpu0 0\ncpu1 0\n", at)


def test_idle_time_includes_waiting_for_io():
    seen = cpu.parse_stat(STAT.format(stolen=7), 5.0)
    assert (seen.at, seen.cores) == (5.0, 2)
    assert seen.idle == pytest.approx(1200 * cpu.TICK_SECONDS) and seen.stolen == pytest.approx(7 * cpu.TICK_SECONDS)


def test_busy_time_is_what_idle_time_leaves():
    ticks = round(1 / cpu.TICK_SECONDS)
    before, after = clock(0, 0, 10.0), clock(ticks, ticks // 2, 11.0)
    assert cpu.busy_seconds(before, after) == pytest.approx(0.5) and cpu.busy_share(before, after) == pytest.approx(0.25)


def test_stolen_time_is_nobodys_work_here():
    ticks = round(1 / cpu.TICK_SECONDS)
    before, after = clock(0, 0, 10.0), clock(ticks, 0, 11.0, stolen=ticks // 4)
    assert cpu.busy_seconds(before, after) == pytest.approx(0.75) and cpu.stolen_share(before, after) == pytest.approx(0.125)


def test_busy_time_is_never_negative():
    assert cpu.busy_seconds(clock(0, 0, 1.0), clock(10_000, 0, 1.5)) == 0.0


def test_a_stat_without_processors_is_refused():
    with pytest.raises(ValueError):
        cpu.parse_stat("intr 1\n", 0.0)


def test_a_process_name_may_hold_anything():
    text = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 50 20 10 20 0 1 0 5 6 7"
    parent, user, system = cpu.parse_process_stat(text)
    assert (parent, user, system) == (7, pytest.approx(120 * cpu.TICK_SECONDS), pytest.approx(60 * cpu.TICK_SECONDS))


def test_switches_are_read():
    assert cpu.parse_switches("Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n") == (12, 3)


def test_memory_is_read_in_bytes():
    text = "00400000-7fff [rollup]\nRss:  100 kB\nPrivate_Dirty:   12 kB\n"
    assert cpu.parse_rollup(text) == {"Rss": 102400, "Private_Dirty": 12288}


def test_this_process_is_found_with_its_use():
    pids = cpu.family(os.getpid())
    assert pids[0] == os.getpid()
    used = cpu.usage_of(pids)
    assert used.user + used.system > 0 and used.voluntary + used.involuntary > 0
    assert cpu.private_bytes(pids) > 1 << 20


def test_a_process_that_is_gone_counts_for_nothing():
    assert cpu.usage_of([2**22 + 1]) == cpu.Usage() and cpu.private_bytes([2**22 + 1]) == 0
