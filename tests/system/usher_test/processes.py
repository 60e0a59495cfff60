"""Processes that a test starts: each in a group of its own, its output in a file, ended by its id."""
import contextlib
import os
import pathlib
import signal
import subprocess

from .waiting import SLOWNESS, eventually

LOG_TAIL_BYTES = 6000


class Process:
    """A running program. Ended by stop() or by the bench that started it, whatever happens."""

    def __init__(self, argv, log, place=None, environment=None, directory=None, pass_fds=()):
        self.log = pathlib.Path(log)
        command = place.command(argv) if place else [str(word) for word in argv]
        with open(self.log, "ab") as output:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                                          env={**os.environ, **(environment or {})}, cwd=directory, pass_fds=pass_fds)

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child.poll() is None

    def output(self):
        return self.log.read_text(errors="replace")

    def tail(self):
        return self.output()[-LOG_TAIL_BYTES:]

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=10.0):
        """The exit status; an AssertionError where it does not come in time."""
        try:
            return self.child.wait(seconds * SLOWNESS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.log.name}: still running after {seconds * SLOWNESS:g} s; it said:\n{self.tail()}") from None

    def kill(self):
        """SIGKILL to the whole group, which is reaped before this returns."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.child.wait(10)

    def stop(self, seconds=5.0):
        """SIGTERM, then SIGKILL to whatever is left of the group."""
        if self.running():
            self.child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(seconds)
        self.kill()

    def wait_until(self, condition, seconds=10.0, what="ready"):
        """Polls `condition`; fails at once, with the log, where the program ends meanwhile."""
        def check():
            if not self.running():
                raise RuntimeError(f"{self.log.name} ended with {self.child.returncode} before it was {what}:\n{self.tail()}")
            return condition()
        try:
            return eventually(check, seconds, f"{self.log.name} {what}")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.tail()}") from None

    # What the kernel says of it.
    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"process {self.pid} has no VmRSS")

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """A test's own workplace: a directory, and every process started in it, ended in reverse order at the end."""

    def __init__(self, directory, network):
        self.directory = pathlib.Path(directory)
        self.net = network
        self.processes = []

    def path(self, name):
        return self.directory / name

    def start(self, argv, name=None, place=None, **options):
        name = name or pathlib.Path(str(argv[0])).name
        log = self.path(f"{name}-{len(self.processes)}.log")
        process = Process(argv, log, place=place, **options)
        self.processes.append(process)
        return process

    def run(self, argv, place=None, seconds=60.0, status=0, text_in=None, environment=None):
        """Runs a program to its end; its exit status must be `status` (None: any)."""
        command = place.command(argv) if place else [str(word) for word in argv]
        done = subprocess.run(command, input=text_in, stdin=subprocess.DEVNULL if text_in is None else None, capture_output=True, text=True,
                              errors="replace", timeout=seconds * SLOWNESS, env={**os.environ, **(environment or {})})
        if status is not None:
            assert done.returncode == status, (
                f"{' '.join(command)}\nexit status {done.returncode}, expected {status}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done

    def logs(self):
        for process in self.processes:
            # A test that fails in its teardown is reported when its directory is gone already.
            if process.log.exists():
                yield process.log.name, process.tail()

    def close(self):
        for process in reversed(self.processes):
            process.stop()
