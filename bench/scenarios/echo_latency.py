"""echo_latency: how long an answer takes at rates that every contender can serve: open loop, never at maximum load."""
from usher_compare import knee
from usher_compare.failure import Spoiled
from usher_compare.runner import ATTEMPTS_MAX
from usher_compare.scenario import Scenario

CONNECTIONS = 64
MESSAGE_BYTES = 64
LIMIT_TRIES = 2  # whatever disturbs a run makes it slower, never faster: the better one is nearer to the limit
SHARES = (0.25, 0.50, 0.75)


class EchoLatency(Scenario):
    name = "echo_latency"
    title = (f"Requests and answers of {MESSAGE_BYTES} bytes over {CONNECTIONS} connections in an open loop at 25, 50 and 75 % of the "
             "knee: the highest rate that the slowest contender keeps up with. Latency counts from the moment when a request was due.")
    unit = "request"
    backend_kind = "answer"
    rounds = 10
    in_quick = True
    target_p99 = 1.0
    kernel_target_p99 = 1.1
    chart = "latency"

    def prepare(self, stage, contenders):
        """Everybody's limit and knee; the slowest one's knee sets the rates for all."""
        limits, knees, failed = {}, {}, {}
        for contender in contenders:
            for _ in range(ATTEMPTS_MAX):
                try:
                    limits[contender.name], knees[contender.name] = self.limit_and_knee(stage, contender)
                    failed.pop(contender.name, None)
                    break
                except Spoiled as why:
                    failed[contender.name] = f"its limit could not be found: {why}"
        slowest = knee.slowest(knees, {contender.name: contender.family for contender in contenders})
        if slowest:
            rates = {f"{share:.0%}": max(1, int(knees[slowest] * share)) for share in SHARES}
            self.prepared = {"closed_loop_rates": limits, "knees": knees, "slowest": slowest, "steps": stage.search.steps, "rates": rates}
        return failed

    def limit_and_knee(self, stage, contender):
        """(closed loop's limit, open loop's knee), in requests a second."""
        with stage.turn(self, contender, 0) as turn:
            limit = max(self.trial(turn, stage.search.bound_seconds)["rate"] for _ in range(LIMIT_TRIES))
            seconds = min(stage.search.trial_seconds, stage.seconds)
            found = knee.find(limit, lambda rate: knee.keeps_up(rate, seconds, self.trial(turn, seconds, "--rate", rate)),
                              stage.search.steps)
        if found is None:
            raise Spoiled(f"a closed loop does {limit:,.0f} requests/s, and no open loop that was tried is kept up with")
        stage.say(f"  {contender.name}: {limit:,.0f} requests/s in a closed loop, {found:,} in an open one")
        return limit, found

    @staticmethod
    def trial(turn, seconds, *words):
        return turn.load("echo", turn.address, *EchoLatency.words(), *words, seconds=min(seconds, turn.seconds),
                         warmup=min(turn.stage.search.warmup_seconds, turn.stage.warmup))

    @staticmethod
    def words():
        return ("--connections", CONNECTIONS, "--request", MESSAGE_BYTES, "--answer", MESSAGE_BYTES)

    def turn(self, turn):
        for share, rate in self.prepared["rates"].items():
            turn.load("echo", turn.address, *self.words(), "--rate", rate, step=f"{share} ({rate:,}/s)")


SCENARIO = EchoLatency
