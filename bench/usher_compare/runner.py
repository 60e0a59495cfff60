"""The rounds: every contender in turn, the order rotated, everything started for its turn and ended after it."""
import contextlib
import dataclasses
import pathlib
import time

from . import cpu, knee, loader
from .contender import Setup
from .failure import Spoiled
from .processes import wait_until
from .scenario import Turn

ATTEMPTS_MAX = 3
AT_REST_SECONDS = 0.2
AT_REST_WARNING = 0.02
SESSIONS_MAX = 110_000
CALM_SECONDS = 0.05
PART_SECONDS = 5.0
ANSWER_SECONDS = 5.0


@dataclasses.dataclass
class Stage:
    """What all turns share: the namespaces, the load generator, and how long things take."""
    network: object
    directory: pathlib.Path
    loader: pathlib.Path
    seconds: float
    warmup: float
    descriptors_max: int
    say: object
    search: knee.Effort = knee.FULL
    kind: str = ""
    backends: list = dataclasses.field(default_factory=list)  # of (process, address)

    def serve(self, kind, count):
        """Makes sure that `count` backends of that kind run; a dead one is started again."""
        if kind != self.kind:
            self.stop_backends()
        self.kind = kind
        for number in range(count):
            if number < len(self.backends):
                process, _ = self.backends[number]
                if process.running():
                    continue
                self.backends[number] = loader.start_backend(self.loader, kind, number, self.network, self.directory)
            else:
                self.backends.append(loader.start_backend(self.loader, kind, number, self.network, self.directory))
        return [address for _, address in self.backends[:count]]

    def kill_backend(self, number):
        self.backends[number][0].kill()

    def stop_backends(self):
        for process, _ in self.backends:
            process.stop()
        self.backends = []

    @contextlib.contextmanager
    def turn(self, scenario, contender, number):
        """The contender runs, and answers, for as long as the block lasts."""
        backends = self.serve(scenario.backend_kind, scenario.backends)
        setup = Setup(self.network, self.directory, backends, SESSIONS_MAX, self.descriptors_max, **scenario.setup_options(self))
        tracked = self.network.balancer.tracked()
        listening = self.network.backend.sockets()
        turn = Turn(self, scenario, contender, setup, number)
        try:
            contender.start(setup)
            wait_until(lambda: loader.answers(self.network.client, contender.front, self.kind), ANSWER_SECONDS,
                       f"a backend answers through {contender.name}")
            time.sleep(CALM_SECONDS)
            yield turn
            for process, _ in self.backends:
                if not scenario.errors_allowed:
                    process.must_run()
            if contender.family != "nftables" and self.network.balancer.tracked() > tracked:
                raise Spoiled("netfilter follows connections of a contender that has no rules: something else registered its hooks")
        finally:
            turn.close()
            self.part(listening)
            contender.stop()

    def part(self, listening):
        """Waits, within bounds, until every connection of this turn has been closed on both sides.

        Thousands that are closed at once lose some of their FINs to a full queue of packets. Sent again when a balancer in
        the kernel is gone, they'd never arrive, and the backend would hold those connections, and their descriptors, for good.
        """
        with contextlib.suppress(Spoiled):
            wait_until(lambda: self.network.client.sockets() == 0 and self.network.backend.sockets() <= listening, PART_SECONDS,
                       "all connections are closed")


def rotated(items, number):
    """The same items, each round beginning with the next one."""
    start = number % len(items) if items else 0
    return items[start:] + items[:start]


class Record:
    """What a scenario's rounds gave, as results.json keeps it."""

    def __init__(self, scenario, contenders, rounds):
        self.scenario = scenario
        self.rounds_wanted = rounds
        self.contenders = [contender.name for contender in contenders]
        self.measurements = []
        self.spoiled = []
        self.failed = {}
        self.at_rest = []

    def as_json(self):
        one = self.scenario
        return {"name": one.name, "title": one.title, "unit": one.unit, "target": one.target, "target_p99": one.target_p99,
                "target_memory": one.target_memory, "kernel_target": one.kernel_target, "kernel_target_p99": one.kernel_target_p99,
                "kernel_target_memory": one.kernel_target_memory, "chart": one.chart, "errors_allowed": one.errors_allowed,
                "extras": [list(extra) for extra in one.extras], "notes": list(one.notes), "prepared": one.prepared,
                "contenders": self.contenders, "rounds_wanted": self.rounds_wanted, "busy_at_rest": self.at_rest,
                "measurements": self.measurements, "spoiled": self.spoiled, "failed": self.failed}


def attempt(stage, record, contender, number):
    """One turn, repeated at most twice; True where it gave a result."""
    scenario = record.scenario
    for trial in range(ATTEMPTS_MAX):
        try:
            with stage.turn(scenario, contender, number) as turn:
                scenario.turn(turn)
            record.measurements += turn.measurements
            return True
        except Spoiled as why:
            record.spoiled.append({"contender": contender.name, "round": number, "attempt": trial, "why": str(why)})
            stage.say(f"  {contender.name}, round {number + 1}: no result ({why})")
    return False


def run_scenario(stage, record, contenders, rounds):
    """Fills `record`. A contender that fails three times in one round is out of this scenario, and the report says so."""
    scenario = record.scenario
    record.failed.update(scenario.prepare(stage, contenders))
    for name, why in record.failed.items():
        stage.say(f"  {name}: no result ({why})")
    for number in range(rounds):
        record.at_rest.append(cpu.busy_share_at_rest(AT_REST_SECONDS))
        for contender in rotated(contenders, number):
            if contender.name in record.failed:
                continue
            if not attempt(stage, record, contender, number):
                record.failed[contender.name] = record.spoiled[-1]["why"]
        stage.say(f"  round {number + 1} of {rounds}: {said_of_round(record, number)}")


def said_of_round(record, number):
    """A line for who watches: CPU per unit, by contender."""
    parts = []
    for name in record.contenders:
        values = [one["cpu_per_unit"] for one in record.measurements if one["contender"] == name and one["round"] == number]
        parts.append(f"{name} {values[-1] * 1e6:,.1f}" if values and record.scenario.unit != "GiB"
                     else f"{name} {values[-1] * 1e3:,.0f}" if values else f"{name} -")
    unit = "ms/GiB" if record.scenario.unit == "GiB" else f"µs/{record.scenario.unit}"
    return f"CPU {unit}: " + ", ".join(parts)
