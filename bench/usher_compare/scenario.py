"""What a scenario is: one kind of work, done through one contender after the other. One file each in bench/scenarios.

To add one: a file with a class derived from Scenario, and `SCENARIO = ThatClass` at its end. Its turn() calls
turn.load(...) once a step; each call becomes one measurement of the report.
"""
import contextlib
import math
import time

from . import cpu
from .failure import Spoiled
from .loader import LOAD_SLACK_SECONDS, Load, errors_of, median_of_slices, seconds_word, units_of


class Scenario:
    name = ""
    title = ""              # a sentence
    unit = "request"        # request | connection | GiB
    backend_kind = "http"   # what usher-bench serves
    backends = 1
    rounds = None           # a default of its own
    in_quick = False
    target = None           # the ratio of added CPU that MEASURE asks of the proxy
    target_p99 = None       # the same for p99
    target_memory = None    # bytes of user memory a session
    kernel_target = None    # of the kernel datapath: the ratio of added CPU to the best peer's; half of nftables' goes with it
    kernel_target_p99 = None     # the ratio of its p99 to direct's
    kernel_target_memory = None
    chart = "added"         # added | latency | memory | none
    errors_allowed = False  # they are what this scenario shows
    step_of_target = None   # the step that the target speaks of; None: every step
    extras = ()             # (key, title, format) of what it adds to the table
    notes = ()

    def __init__(self):
        self.prepared = {}

    def suits(self, contender):
        """Whether this work can be done through that contender."""
        return True

    def setup_options(self, limits):
        """What the contenders' Setup gets beside the backends."""
        return {}

    def prepare(self, stage, contenders):
        """Once, before the first round: finds what the rounds need, into self.prepared. Returns {contender: why it failed}."""
        return {}

    def turn(self, turn):
        raise NotImplementedError


class Turn:
    """One contender's turn in one round: it runs, and everything is measured around turn.load()."""

    def __init__(self, stage, scenario, contender, setup, number):
        self.stage, self.scenario, self.contender, self.setup, self.number = stage, scenario, contender, setup, number
        self.network = stage.network
        self.measurements = []
        self.idle_loads = []

    @property
    def front(self):
        return self.contender.front

    @property
    def address(self):
        return self.contender.address

    @property
    def seconds(self):
        return self.stage.seconds

    def start(self, *words, seconds_max):
        """Another usher-bench beside the measured one; ended with the turn."""
        one = Load(self.stage.loader, [str(word) for word in words], self.network, self.setup.directory, seconds_max)
        self.idle_loads.append(one)
        return one

    def load(self, mode, target, *words, step="", seconds=None, warmup=None, during=None):
        """Runs usher-bench and measures the machine around it. `during(running)` is called once while it runs."""
        seconds = seconds or self.seconds
        warmup = warmup or self.stage.warmup
        words = [mode, target, *[str(word) for word in words], "--duration", seconds_word(seconds), "--warmup",
                 seconds_word(warmup), "--seed", str(self.number + 1)]
        pids = self.contender.pids()
        used = cpu.usage_of(pids)
        before = cpu.look()
        running = Load(self.stage.loader, words, self.network, self.setup.directory, seconds + warmup + LOAD_SLACK_SECONDS)
        try:
            if during:
                during(running.running)
            report = running.finish()
        finally:
            running.kill()
        after = cpu.look()
        self.contender.must_run()
        used = cpu.usage_of(self.contender.pids() or pids) - used
        measurement = {"contender": self.contender.name, "round": self.number, "step": step,
                       **measured(report, self.scenario.unit, before, after, used)}
        if measurement["errors"] and not self.scenario.errors_allowed:
            raise Spoiled("errors: " + ", ".join(f"{what} {count}" for what, count in measurement["errors"].items()))
        if not measurement["units"]:
            raise Spoiled(f"not one {self.scenario.unit} was done")
        self.measurements.append(measurement)
        return measurement

    def rest(self, seconds):
        time.sleep(seconds)

    def close(self):
        for one in self.idle_loads:
            with contextlib.suppress(OSError):
                one.kill()


def measured(report, unit, before, after, used):
    """What the report keeps of one run: per unit of work wherever that makes sense. Seconds, counts."""
    units = units_of(report, unit)
    busy = cpu.busy_seconds(before, after)
    latency = report.get("latency") or {}
    if unit == "connection" and not latency.get("count"):
        latency = report.get("connect_latency") or {}

    kept = {key: latency[key] for key in ("count", "mean", "p50", "p90", "p99", "p999", "max", "corrected") if key in latency}
    kept["p99_median_tenth"] = median_of_slices(report.get("slices_p99"))

    def each(value):
        return value / units if units else math.nan

    seconds = report.get("duration_seconds") or 0
    return {
        "units": units,
        "elapsed_seconds": after.at - before.at,
        "busy_seconds": busy,
        "busy_share": cpu.busy_share(before, after),
        "stolen_share": cpu.stolen_share(before, after),
        "cpu_per_unit": each(busy),
        "own_user_per_unit": each(max(0.0, used.user)),
        "own_system_per_unit": each(max(0.0, used.system)),
        "switches_per_unit": each(max(0, used.voluntary)),
        "preemptions_per_unit": each(max(0, used.involuntary)),
        "rate": units_of(report, unit, "measured") / seconds if seconds else 0.0,
        "latency": kept,
        "open_loop": report.get("rate") is not None,
        "late_sends": report.get("late_sends", 0),
        "loader_busy_share": report.get("busy_share"),
        "errors": errors_of(report),
        "extra": {},
    }
