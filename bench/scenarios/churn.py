"""churn: a new configuration every second, under load. Not one request may fail."""
import time

from usher_compare.scenario import Scenario

CONNECTIONS = 32
REQUESTS_A_CONNECTION = 20
RELOAD_SECONDS = 1.0
SECONDS_MIN = 3.0
STEP_SECONDS = 0.02


class Churn(Scenario):
    name = "churn"
    title = (f"{CONNECTIONS} HTTP connections of {REQUESTS_A_CONNECTION} requests each, while a new configuration is applied every second: "
             "a second backend comes and goes. Errors must be 0.")
    unit = "request"
    backend_kind = "http"
    backends = 2
    chart = "none"
    extras = (("reloads", "reloads", "{:.0f}"),)

    def suits(self, contender):
        return contender.can_reload

    def turn(self, turn):
        reloads = 0

        def keep_reloading(running):
            nonlocal reloads
            due = time.monotonic() + RELOAD_SECONDS
            while running():
                if time.monotonic() >= due:
                    count = 1 + reloads % 2
                    turn.contender.reload(turn.setup.with_backends(turn.setup.backends[:count]))
                    reloads += 1
                    due += RELOAD_SECONDS
                time.sleep(STEP_SECONDS)

        seconds = max(SECONDS_MIN, turn.seconds)
        measurement = turn.load("http", f"http://{turn.address}/128", "--connections", CONNECTIONS, "--requests-per-connection",
                                REQUESTS_A_CONNECTION, seconds=seconds, during=keep_reloading)
        measurement["extra"] = {"reloads": reloads}


SCENARIO = Churn
