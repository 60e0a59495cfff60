"""Starts programs in a namespace and on a processor, and ends them by their id."""
import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import subprocess
import time

from .failure import Spoiled
from .network import enter

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 5.0
LOG_TAIL_CHARACTERS = 1200

_prctl = ctypes.CDLL(None, use_errno=True).prctl


def _settle(place):
    """What the child does before it becomes the program: moves into the namespace, onto its processor; dies with this run."""
    def before_exec():
        enter(place.descriptor)
        os.sched_setaffinity(0, {place.core})
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return before_exec


def raise_descriptor_limit():
    """As many descriptors as this machine allows, for this process and all that it starts; returns that limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Process:
    """A running program with its output in a file."""

    def __init__(self, argv, place, log):
        self.log = log
        self.name = os.path.basename(str(argv[0]))
        with open(log, "wb") as output:
            self.child = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                          start_new_session=True, preexec_fn=_settle(place))
        self.pid = self.child.pid

    def running(self):
        return self.child.poll() is None

    def tail(self):
        """The end of what it said, on one line."""
        with contextlib.suppress(OSError), open(self.log, errors="replace") as log:
            return " ".join(log.read()[-LOG_TAIL_CHARACTERS:].split())
        return ""

    def send(self, number):
        if self.running():
            os.kill(self.pid, number)

    def kill(self):
        """SIGKILL to the program and to what it started: the group is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(STOP_SECONDS)

    def stop(self, number=signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            self.send(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(STOP_SECONDS)
        self.kill()

    def wait(self, seconds):
        """True where it ended in that time. Sleeps in the kernel (pidfd_open(2)): this run's own work would be in the figures."""
        if not self.running():
            return True
        ended = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.poll(seconds * 1000)
        finally:
            os.close(ended)
        return not self.running()

    def must_run(self):
        if not self.running():
            raise Spoiled(f"{self.name} ended with status {self.child.returncode}; it said: {self.tail() or 'nothing'}")


def run(argv, place, seconds_max):
    """Runs a program to its end: (exit status, stdout, stderr). Spoiled where it takes longer than `seconds_max`."""
    with subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", start_new_session=True, preexec_fn=_settle(place)) as child:
        try:
            out, err = child.communicate(timeout=seconds_max)
        except subprocess.TimeoutExpired:
            raise Spoiled(f"{os.path.basename(str(argv[0]))} was still running after {seconds_max:g} s") from None
        finally:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    return child.returncode, out, err


def ask(place, address, question=b"", answer_bytes=0, seconds=1.0, source=None):
    """Connects from `place`, sends `question`, reads at least `answer_bytes`. True where that worked."""
    with place.entered():
        connection = socket.socket()
    with connection:
        connection.settimeout(seconds)
        try:
            if source:
                connection.bind((source, 0))
            connection.connect(address)
            connection.sendall(question)
            got = 0
            while got < answer_bytes:
                piece = connection.recv(65536)
                if not piece:
                    return False
                got += len(piece)
        except OSError:
            return False
        return True


def wait_until(condition, seconds, what, process=None):
    """Asks `condition` again and again, for `seconds` at most; Spoiled after that, or where `process` ends."""
    deadline = time.monotonic() + seconds
    while True:
        if process:
            process.must_run()
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            said = f"; {process.name} said: {process.tail() or 'nothing'}" if process else ""
            raise Spoiled(f"{what}: not within {seconds:g} s{said}")
        time.sleep(0.01)
