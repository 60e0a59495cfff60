"""one_backend_dies: one of two backends is killed under load: which errors clients see, and for how long."""
import time

from usher_compare.loader import QUESTIONS
from usher_compare.processes import ask
from usher_compare.scenario import Scenario

CONNECTIONS = 32
REQUESTS_A_CONNECTION = 20
SECONDS_MIN = 3.0
STEP_SECONDS = 0.01
ASK_SECONDS = 1.0


class OneBackendDies(Scenario):
    name = "one_backend_dies"
    title = (f"{CONNECTIONS} HTTP connections of {REQUESTS_A_CONNECTION} requests each over two backends; one is killed after a third of "
             "the time. Requests that it was just serving must fail; how long do others?")
    unit = "request"
    backend_kind = "http"
    backends = 2
    chart = "none"
    errors_allowed = True
    extras = (("probes_failed", "failed probes", "{:,.0f}"),
              ("clean_after", "clean after (ms)", "milliseconds"))
    notes = ("Probes are new connections, one about every 10 ms, each with one request; clean after = from the kill to the end of the last "
             "probe that failed.",)

    def suits(self, contender):
        return contender.checks_backends

    def setup_options(self, limits):
        return {"checks": True}

    def turn(self, turn):
        seconds = max(SECONDS_MIN, turn.seconds)
        failed = 0
        clean_after = 0.0

        def kill_and_probe(running):
            nonlocal failed, clean_after
            started = time.monotonic()
            killed = None
            while running():
                now = time.monotonic()
                if killed is None and now - started >= seconds / 3:
                    turn.stage.kill_backend(1)
                    killed = now
                if not ask(turn.network.client, turn.front, *QUESTIONS["http"], seconds=ASK_SECONDS) and running():
                    failed += 1
                    clean_after = time.monotonic() - killed if killed else 0.0
                time.sleep(STEP_SECONDS)

        measurement = turn.load("http", f"http://{turn.address}/128", "--connections", CONNECTIONS, "--requests-per-connection",
                                REQUESTS_A_CONNECTION, seconds=seconds, during=kill_and_probe)
        measurement["extra"] = {"probes_failed": failed, "clean_after": clean_after}


SCENARIO = OneBackendDies
