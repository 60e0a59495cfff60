"""What a contender is: something that brings a client's connections to the backends. One file each in bench/contenders.

To add one: a file with a class derived from Contender or ProcessContender, and `CONTENDER = ThatClass` at its end.
"""
import contextlib
import dataclasses
import pathlib
import re
import signal
import subprocess

from . import cpu
from .failure import Spoiled
from .processes import Process, ask, wait_until

FRONT_PORT = 700
START_SECONDS = 10.0


@dataclasses.dataclass
class Setup:
    """What a contender has to do in this turn."""
    network: object
    directory: pathlib.Path
    backends: list          # of (ip, port)
    sessions_max: int       # that many connections at once must be possible
    descriptors_max: int    # RLIMIT_NOFILE
    checks: bool = False    # look after the backends' health, as far as it can

    def with_backends(self, backends):
        return dataclasses.replace(self, backends=backends)


def first_line_of(argv):
    """What a program says of its version; "not found" where it isn't there."""
    try:
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    said = (done.stdout + done.stderr).strip().splitlines()
    return re.sub(r"\s+", " ", said[0]).split(" - ")[0] if said else "says nothing"


class Contender:
    """REQUIRES: stop() after every start(), whatever happened."""

    name = ""
    title = ""
    family = ""             # usher | haproxy | nginx | nftables | direct
    datapath = ""           # usher only: proxy | kernel, which targets are its
    peer = False            # one of those that the targets are measured against
    in_quick = False
    has_process = False
    holds_sockets = False   # a session is two sockets in the balancer's namespace
    can_reload = False
    checks_backends = False
    programs = ()           # (program or file, Debian package)

    def __init__(self):
        self.front = None

    @property
    def address(self):
        return f"{self.front[0]}:{self.front[1]}"

    def version(self):
        return ""

    def configuration(self, setup):
        """The text of its configuration, as the report and this turn use it."""
        return ""

    def start(self, setup):
        raise NotImplementedError

    def reload(self, setup):
        """Applies `setup` to a running contender, the way its documentation says."""
        raise NotImplementedError

    def stop(self):
        pass

    def must_run(self):
        pass

    def pids(self):
        return []


class ProcessContender(Contender):
    """A program that runs in the balancer's namespace, on the balancer's processor."""

    has_process = True
    holds_sockets = True
    config_name = "contender.conf"
    stop_signal = signal.SIGTERM

    def __init__(self):
        super().__init__()
        self.process = None

    def command(self, setup, config_path):
        raise NotImplementedError

    def start(self, setup):
        self.front = (setup.network.balancer.ip, FRONT_PORT)
        path = self.write(setup)
        self.process = Process(self.command(setup, path), setup.network.balancer, setup.directory / f"{self.name}.log")
        wait_until(lambda: ask(setup.network.client, self.front), START_SECONDS, f"{self.name} accepts connections", self.process)

    def write(self, setup):
        path = setup.directory / f"{self.name}-{self.config_name}"
        path.write_text(self.configuration(setup))
        return path

    def stop(self):
        if self.process:
            self.process.stop(self.stop_signal)
            self.process = None

    def must_run(self):
        if self.process is None:
            raise Spoiled(f"{self.name} isn't running")
        self.process.must_run()

    def pids(self):
        with contextlib.suppress(OSError):
            return cpu.family(self.process.pid) if self.process else []
        return []
