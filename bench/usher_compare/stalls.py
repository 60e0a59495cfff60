"""How often, and for how long, this machine takes a processor away from a program that wants nothing else.

A loop that only reads the clock sees a gap wherever it didn't run: the hypervisor served somebody else, or an interrupt or
another program here did. /proc/stat knows of the first only where the hypervisor says so ("steal", proc_stat(5)); of the
last the kernel keeps count, as the time that the loop waited while it could have run (/proc/PID/schedstat).
"""
import gc
import os
import pathlib
import time

SECONDS = 1.0
GAP_SECONDS = 200e-6   # a turn of the loop takes a tenth of a microsecond, a timer interrupt a few
LONG_SECONDS = 1e-3
SHARE_WARNING = 0.002


def gaps(clock_ns, seconds):
    """(elapsed seconds, gaps in seconds): reads the clock for `seconds`, and keeps what lies between two looks too far apart."""
    found = []
    gap_ns = int(GAP_SECONDS * 1e9)
    start = last = clock_ns()
    end = start + int(seconds * 1e9)
    while last < end:
        now = clock_ns()
        if now - last > gap_ns:
            found.append((now - last) / 1e9)
        last = now
    return (last - start) / 1e9, found


def summary(core, elapsed, found, waited):
    """What results.json keeps of one processor; `waited`: seconds that it served other programs of this machine, or None."""
    return {"core": core, "seconds": elapsed, "share": sum(found) / elapsed, "longest": max(found, default=0.0),
            "long_per_second": sum(1 for gap in found if gap > LONG_SECONDS) / elapsed,
            "to_programs_share": None if waited is None else waited / elapsed}


def parse_waited(text):
    """Seconds that a thread could have run and didn't, from its schedstat."""
    return int(text.split()[1]) / 1e9


def waited_so_far():
    """None where the kernel doesn't count it."""
    try:
        return parse_waited(pathlib.Path("/proc/thread-self/schedstat").read_text())
    except (OSError, IndexError, ValueError):
        return None


def watch(cores, seconds=SECONDS):
    """Spins on one processor after the other; nothing else of this run may be at work."""
    home = os.sched_getaffinity(0)
    collecting = gc.isenabled()
    gc.disable()
    try:
        out = []
        for core in dict.fromkeys(cores):
            os.sched_setaffinity(0, {core})
            before = waited_so_far()
            elapsed, found = gaps(time.perf_counter_ns, seconds)
            after = waited_so_far()
            out.append(summary(core, elapsed, found, None if before is None or after is None else after - before))
        return out
    finally:
        os.sched_setaffinity(0, home)
        if collecting:
            gc.enable()


def text(one):
    """One processor's row of the report."""
    to_programs = one.get("to_programs_share")
    others = "" if to_programs is None else f" (other programs here had {to_programs:.2%})"
    return (f"processor {one['core']}: {one['share']:.2%} of the time{others}, the longest {one['longest'] * 1e3:.1f} ms, "
            f"{one['long_per_second']:.0f} a second over 1 ms")
