"""echo_latency: how long an answer takes at rates that every contender can serve: open loop, never at maximum load."""
from usher_compare.failure import Spoiled
from usher_compare.scenario import Scenario

CONNECTIONS = 64
MESSAGE_BYTES = 64
LIMIT_SECONDS = 0.7
SHARES = (0.25, 0.50, 0.75)


class EchoLatency(Scenario):
    name = "echo_latency"
    title = (f"Requests and answers of {MESSAGE_BYTES} bytes over {CONNECTIONS} connections in an open loop at 25, 50 and 75 % of what the "
             "slowest contender can do; latency counts from the moment when a request was due.")
    unit = "request"
    backend_kind = "answer"
    in_quick = True
    target_p99 = 1.0
    chart = "latency"

    def prepare(self, stage, contenders):
        """Everybody's limit, by a short closed loop; the slowest one's sets the rates for all."""
        limits = {}
        failed = {}
        for contender in contenders:
            try:
                with stage.turn(self, contender, 0) as turn:
                    # Whatever disturbs a run makes it slower, never faster: the better of two is nearer to the limit.
                    seconds = min(LIMIT_SECONDS, stage.seconds)
                    limits[contender.name] = max(turn.load("echo", turn.address, *self.words(), seconds=seconds)["rate"] for _ in range(2))
            except Spoiled as why:
                failed[contender.name] = f"its limit could not be found: {why}"
        if not limits:
            return failed
        knee = min(limits.values())
        self.prepared = {"closed_loop_rates": limits, "rates": {f"{share:.0%}": max(1, int(knee * share)) for share in SHARES}}
        return failed

    @staticmethod
    def words():
        return ("--connections", CONNECTIONS, "--request", MESSAGE_BYTES, "--answer", MESSAGE_BYTES)

    def turn(self, turn):
        for share, rate in self.prepared["rates"].items():
            turn.load("echo", turn.address, *self.words(), "--rate", rate, step=f"{share} ({rate:,}/s)")


SCENARIO = EchoLatency
