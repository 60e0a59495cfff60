"""CPU time, memory and context switches, as the kernel reports them in /proc (proc(5)).

The busy time of the machine is what is left of (elapsed x processors) when the idle time is taken off. Idle time is
measured to the nanosecond and printed in ticks of 10 ms; user and system time are sampled by a timer interrupt, which
is why they aren't summed. A thread that waits in io_uring counts as "iowait": that, too, is idle time.
"""
import contextlib
import dataclasses
import os
import pathlib
import time

TICK_SECONDS = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Clock:
    """One look at the machine: seconds since some start, and idle and stolen seconds of all processors together."""
    at: float
    idle: float
    stolen: float
    cores: int


def parse_stat(text, at):
    """`text` is /proc/stat."""
    cores = 0
    first = None
    for line in text.splitlines():
        name, *fields = line.split()
        if name == "cpu":
            first = [int(field) for field in fields]
        elif name.startswith("cpu"):
            cores += 1
    if first is None or cores == 0:
        raise ValueError("no cpu lines in /proc/stat")
    return Clock(at, (first[3] + first[4]) * TICK_SECONDS, first[7] * TICK_SECONDS, cores)


def look():
    with open("/proc/stat") as stat:
        text = stat.read()
    return parse_stat(text, time.monotonic())


def busy_seconds(before, after):
    """CPU seconds that the whole machine was busy between two looks; stolen time isn't this machine's work."""
    busy = (after.at - before.at) * before.cores - (after.idle - before.idle) - (after.stolen - before.stolen)
    return max(0.0, busy)


def stolen_share(before, after):
    elapsed = (after.at - before.at) * before.cores
    return (after.stolen - before.stolen) / elapsed if elapsed > 0 else 0.0


def busy_share(before, after):
    elapsed = (after.at - before.at) * before.cores
    return busy_seconds(before, after) / elapsed if elapsed > 0 else 0.0


def busy_share_at_rest(seconds):
    """How busy the machine is while this run does nothing: other people's work, which lands in every figure."""
    before = look()
    time.sleep(seconds)
    return busy_share(before, look())


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a group of processes has used so far, including children that have ended and were waited for."""
    user: float = 0.0
    system: float = 0.0
    voluntary: int = 0
    involuntary: int = 0

    def __sub__(self, other):
        return Usage(self.user - other.user, self.system - other.system, self.voluntary - other.voluntary,
                     self.involuntary - other.involuntary)

    def __add__(self, other):
        return Usage(self.user + other.user, self.system + other.system, self.voluntary + other.voluntary,
                     self.involuntary + other.involuntary)


def parse_process_stat(text):
    """(parent, user seconds, system seconds) from /proc/PID/stat; a name may hold blanks and parentheses."""
    fields = text.rpartition(")")[2].split()
    user, system, children_user, children_system = (int(field) * TICK_SECONDS for field in fields[11:15])
    return int(fields[1]), user + children_user, system + children_system


def parse_switches(text):
    """(voluntary, involuntary) from /proc/PID/task/TID/status."""
    found = {"voluntary_ctxt_switches": 0, "nonvoluntary_ctxt_switches": 0}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key in found:
            found[key] = int(value)
    return found["voluntary_ctxt_switches"], found["nonvoluntary_ctxt_switches"]


def family(root):
    """`root` and all that descend from it, as far as they still run."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = parse_process_stat(pathlib.Path(entry.path, "stat").read_text(errors="replace"))[0]
    found = [root] if root in parents else []
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def usage_of(pids):
    total = Usage()
    for pid in pids:
        with contextlib.suppress(OSError):
            _, user, system = parse_process_stat(pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace"))
            voluntary = involuntary = 0
            for thread in os.scandir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    one = parse_switches(pathlib.Path(thread.path, "status").read_text(errors="replace"))
                    voluntary, involuntary = voluntary + one[0], involuntary + one[1]
            total += Usage(user, system, voluntary, involuntary)
    return total


def parse_rollup(text):
    """Bytes by field from /proc/PID/smaps_rollup."""
    out = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "kB":
            out[words[0].rstrip(":")] = int(words[1]) * 1024
    return out


def private_bytes(pids):
    """Memory in user space that these processes alone have written to (Private_Dirty): what sessions cost there."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += parse_rollup(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()).get("Private_Dirty", 0)
    return total
