"""A running usher: its configuration, its admin socket, its metrics, and the four laws that it keeps."""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket

from . import toml
from .metrics import Metrics
from .notify import NotifySocket
from .waiting import SLOWNESS, eventually

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = pathlib.Path(os.environ.get("USHER_BINARY", ROOT / "build/dev/src/usher"))
STOP_SECONDS = 10.0
COMPLAINTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=99:second_deadlock_stack=1",
}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, seconds):
        super().__init__("localhost", timeout=seconds)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Usher:
    """`usher run` in the balancer's namespace. Started by start(); the fixture that made it checks the laws and stops it."""

    def __init__(self, bench, config, binary=BINARY, prefix=(), environment=None, admin=None):
        self.bench = bench
        self.binary = binary
        self.prefix = list(prefix)  # a command in front, such as prlimit
        self.environment = environment or {}
        number = len(list(bench.directory.glob("usher-*.toml")))
        self.config_path = bench.path(f"usher-{number}.toml")
        self.admin_path = bench.path(f"admin-{number}.sock")
        self.notify = NotifySocket(bench.path(f"notify-{number}.sock"))
        self.admin = {"socket": str(self.admin_path), "http": "", **(admin or {})}
        self.process = None
        self.ended = False
        self.descriptors_at_start = None
        self.write(config)

    def write(self, config):
        """Writes the configuration; SIGHUP or reload() applies it. A text is written as it is."""
        text = config if isinstance(config, str) else toml.dump({"admin": self.admin, **config})
        self.config_path.write_text(text)

    def launch(self):
        """Starts it, without waiting for anything."""
        environment = {**SANITIZER_OPTIONS, "NOTIFY_SOCKET": self.notify.path, **self.environment}
        self.process = self.bench.start([*self.prefix, self.binary, "run", "-c", self.config_path], name="usher",
                                        place=self.bench.net.balancer, environment=environment)
        return self

    def start(self):
        """Starts it, and waits until it says READY=1 and answers on its admin socket."""
        self.launch()
        self.process.wait_until(lambda: self.notify.find("READY", "1"), 15, "ready")
        self.process.wait_until(lambda: self.get("/api/v1/status")["phase"] == "serving", 5, "serving")
        self.descriptors_at_start = min(self.own_descriptors() for _ in range(5))
        return self

    # The API.
    def request(self, method, path, body=None, seconds=30.0):
        """(status, text of the answer)."""
        connection = UnixConnection(self.admin_path, seconds * SLOWNESS)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json", "Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def get(self, path):
        status, text = self.request("GET", path)
        assert status == 200, f"GET {path}: {status} {text}"
        return json.loads(text)

    def post(self, path, body=None, status=200):
        got, text = self.request("POST", path, body)
        assert got == status, f"POST {path} {body}: {got}, expected {status}: {text}"
        return json.loads(text)

    def backends(self):
        return {f'{row["pool"]}/{row["name"]}': row for row in self.get("/api/v1/backends")["backends"]}

    def reload(self, config=None):
        """POST reload, which answers when it is done."""
        if config is not None:
            self.write(config)
        return self.post("/api/v1/reload")

    def metrics(self):
        status, text = self.request("GET", "/metrics")
        assert status == 200, f"GET /metrics: {status} {text}"
        return Metrics(text)

    def command(self, *words, status=0, json_answer=False):
        """Runs a verb of the command line against this usher."""
        done = self.bench.run([self.binary, *words, "--socket", self.admin_path, *(["--json"] if json_answer else [])], status=status,
                              environment=SANITIZER_OPTIONS)
        return json.loads(done.stdout) if json_answer else done

    def check(self, config):
        """`usher check` of another configuration: (exit status, what it said)."""
        path = self.bench.path("checked.toml")
        path.write_text(config if isinstance(config, str) else toml.dump(config))
        done = self.bench.run([self.binary, "check", "-c", path], status=None, environment=SANITIZER_OPTIONS)
        return done.returncode, done.stdout + done.stderr

    # What it counted.
    def outcomes(self):
        """{outcome: count} over every listener, the zeros left out."""
        counted = self.metrics().values("usher_connections_closed_total", "outcome")
        return {outcome: int(count) for outcome, count in counted.items() if count}

    def active(self):
        return int(self.metrics().sum("usher_connections_active"))

    def expect_outcome(self, outcome, count=1, seconds=5.0):
        """Waits until `count` sessions ended that way."""
        def check():
            seen = self.outcomes()
            assert seen.get(outcome, 0) >= count, f"outcomes {seen}"
            return True
        eventually(check, seconds, f"{count} of outcome {outcome}")
        seen = self.outcomes()
        assert seen[outcome] == count, f"expected exactly {count} of {outcome}, outcomes {seen}"

    def expect_only(self, **outcomes):
        """Waits until nothing is active; then every session must have ended in one of these ways, so many times."""
        eventually(lambda: self.active() == 0, 10, "no active session")
        assert self.outcomes() == outcomes

    def own_descriptors(self):
        """Open ones, less what the pipe pools keep for the next turn and less the admin connections that ask."""
        pipes = int(self.metrics().sum("usher_worker_pipes_open"))
        return self.process.descriptors() - 2 * pipes

    # The laws.
    def at_rest(self):
        seen = self.metrics()
        return seen.sum("usher_connections_active") == 0 and seen.sum("usher_worker_sessions") == 0

    def laws(self, descriptors=True, seconds=15.0):
        """Waits until no session is left, then holds usher to its four laws. `descriptors`: the listeners are those it started with."""
        eventually(self.at_rest, seconds, "no session left")
        eventually(self._check_counts, 5, "laws 1 to 3")
        if descriptors:
            def check():
                now = self.own_descriptors()
                assert now <= self.descriptors_at_start, f"law 4: {now} descriptors are open, {self.descriptors_at_start} were at the start"
                return True
            eventually(check, 5, "law 4")

    def _check_counts(self):
        seen = self.metrics()
        for labels, accepted in seen.rows("usher_connections_accepted_total"):
            name = labels["listener"]
            active = seen.sum("usher_connections_active", listener=name)
            closed = seen.sum("usher_connections_closed_total", listener=name)
            assert accepted == active + closed, f"law 1, listener {name}: {accepted} accepted, {active} active, {closed} closed"
        for labels, filled in seen.rows("usher_worker_bytes_filled_total"):
            worker = labels["worker"]
            drained = seen.sum("usher_worker_bytes_drained_total", worker=worker)
            piped = seen.sum("usher_worker_bytes_piped", worker=worker)
            discarded = seen.sum("usher_worker_bytes_discarded_total", worker=worker)
            assert piped == 0, f"law 2, worker {worker}: {piped} bytes rest in pipes with no session left"
            assert filled == drained + discarded, f"law 2, worker {worker}: {filled} filled, {drained} drained, {discarded} discarded"
        for labels, submitted in seen.rows("usher_worker_operations_submitted_total"):
            worker = labels["worker"]
            completed = seen.sum("usher_worker_operations_completed_total", worker=worker)
            in_flight = seen.sum("usher_worker_operations_in_flight", worker=worker)
            assert submitted == completed + in_flight, f"law 3, worker {worker}: {submitted} submitted, {completed} completed, {in_flight} in flight"
        assert seen.sum("usher_connections_closed_total", outcome="internal") == 0, "a session ended as 'internal', which is always a bug"
        return True

    # The end.
    def hangup(self):
        self.process.signal(signal.SIGHUP)

    def terminate(self):
        self.process.signal(signal.SIGTERM)

    def stop(self, seconds=STOP_SECONDS):
        """SIGTERM; it must drain and exit 0."""
        self.terminate()
        self.wait_exit(seconds)

    def wait_exit(self, seconds=STOP_SECONDS, status=0):
        """Waits for its end; the exit status must be `status` (None: any)."""
        self.ended = True
        left = self.process.wait(seconds)
        self.complaints()
        assert status is None or left == status, f"usher exited {left}, expected {status}:\n{self.process.tail()}"

    def complaints(self):
        said = self.process.output()
        for complaint in COMPLAINTS:
            assert complaint not in said, f"{complaint}\n{said[said.index(complaint):][:6000]}"

    def finish(self, check_laws):
        """What the fixture does at the end of every test; `check_laws` is off for a test that failed already."""
        if self.process is None or self.ended:
            return
        if not check_laws:
            # Told thrice it leaves at once, but takes its programs off the interfaces, which the next test has, too.
            for _ in range(3):
                with contextlib.suppress(AssertionError, ProcessLookupError):
                    self.terminate()
                    self.process.wait(1)
            return
        assert self.process.running(), f"usher died with {self.process.child.returncode}:\n{self.process.tail()}"
        self.laws()
        self.stop()
