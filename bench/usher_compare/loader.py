"""Runs usher-bench: the backends that it serves, and the load whose report it writes."""
import json
import math
import os
import signal
import subprocess

from . import statistics
from .failure import Spoiled
from .processes import LOG_TAIL_CHARACTERS, Process, ask, wait_until

START_SECONDS = 10.0
SERVE_SECONDS_MAX = 3600
FIRST_BACKEND_PORT = 800
LOAD_SLACK_SECONDS = 20.0

# What shows that a backend of that kind answers through a balancer: (what is sent, how many bytes must come).
QUESTIONS = {
    "http": (b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 16),
    "answer": ((8).to_bytes(4, "little") + (1).to_bytes(4, "little"), 1),
    "echo": (b"x", 1),
    "source": (b"", 1),
    "sink": (b"x", 0),
}


def start_backend(program, kind, number, network, directory):
    """`usher-bench serve KIND` in the backend's namespace; (process, (ip, port)). It ends by itself should this run die."""
    address = (network.backend.ip, FIRST_BACKEND_PORT + number)
    process = Process([program, "serve", kind, "--listen", f"{address[0]}:{address[1]}", "--duration", f"{SERVE_SECONDS_MAX}s"],
                      network.backend, directory / f"backend-{kind}-{number}.log")
    try:
        wait_until(lambda: answers(network.client, address, kind), START_SECONDS, f"usher-bench serve {kind} answers", process)
    except BaseException:
        process.kill()
        raise
    return process, address


def answers(client, address, kind, seconds=1.0):
    return ask(client, address, *QUESTIONS[kind], seconds=seconds)


class Load:
    """One usher-bench in the client's namespace. REQUIRES: finish() or kill()."""

    def __init__(self, program, words, network, directory, seconds_max):
        self.report_path = directory / "load.json" if "idle" not in words else directory / f"idle-{id(self)}.json"
        self.report_path.unlink(missing_ok=True)
        self.seconds_max = seconds_max
        self.process = Process([program, *words, "--quiet", "--json", self.report_path], network.client, directory / "load.log")

    def running(self):
        return self.process.running()

    def interrupt(self):
        self.process.send(signal.SIGINT)

    def kill(self):
        self.process.kill()

    def finish(self):
        """Waits for its end, at most the given time, and reads its report."""
        try:
            if not self.process.wait(self.seconds_max):
                raise Spoiled(f"usher-bench was still running after {self.seconds_max:g} s")
        finally:
            self.process.kill()
        return parse_report(self.report_path, self.process.child.returncode, self.process.tail())


def parse_report(path, status, said):
    if status == 2:
        raise Spoiled(f"usher-bench didn't understand its command line: {said[-LOG_TAIL_CHARACTERS:]}")
    try:
        report = json.loads(path.read_text())
    except FileNotFoundError:
        raise Spoiled(f"usher-bench ended with status {status} and wrote no report; it said: {said or 'nothing'}") from None
    except json.JSONDecodeError as error:
        raise Spoiled(f"usher-bench wrote a report that is no JSON ({error})") from None
    for key in ("total", "measured", "per_second", "errors"):
        if not isinstance(report.get(key), dict):
            raise Spoiled(f"usher-bench's report has no {key!r}")
    return report


def seconds_word(seconds):
    """A duration as usher-bench reads it: whole milliseconds."""
    return f"{math.ceil(seconds * 1000)}ms"


def units_of(report, unit, part="total"):
    """How many units of work the report counts, warm-up included."""
    counts = report[part]
    if unit == "request":
        return counts["requests"]
    if unit == "connection":
        return counts["connects"]
    if unit == "GiB":
        return (counts["bytes_sent"] + counts["bytes_received"]) / 2**30
    raise ValueError(f"unknown unit {unit}")


def median_of_slices(slices):
    """The median of what each part of the measured time gave; None where fewer than half of them gave anything.

    A processor that is taken away for some milliseconds spoils the parts that it falls into, and no other.
    """
    there = statistics.known(slices or [])
    return statistics.median(there) if there and 2 * len(there) >= len(slices) else None


def errors_of(report):
    """{what: count} of what went wrong."""
    errors = {what: count for what, count in report["errors"].items() if what != "total" and count}
    total = report["errors"].get("total", 0)
    return errors or ({"unnamed": total} if total else {})


def program_version(program):
    try:
        done = subprocess.run([os.fspath(program), "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    return (done.stdout or done.stderr).strip().splitlines()[0] if (done.stdout or done.stderr).strip() else "says nothing"
