"""slow_reader: one client that asks for much and reads nothing, beside fast ones. They must not notice it."""
import socket

from usher_compare import cpu
from usher_compare.scenario import Scenario

CONNECTIONS = 8
CONNECT_SECONDS = 5.0


class SlowReader(Scenario):
    name = "slow_reader"
    title = f"{CONNECTIONS} fast streams alone, then beside one client that reads nothing."
    unit = "GiB"
    backend_kind = "source"
    chart = "none"
    extras = (("rate_ratio", "rate beside / alone", "{:.2f}"), ("grown_bytes", "user memory grown (KiB)", "kibibytes"))

    def turn(self, turn):
        words = ("stream", turn.address, "--connections", CONNECTIONS, "--direction", "down")
        alone = turn.load(*words, step="alone")
        before = cpu.private_bytes(turn.contender.pids())
        with turn.network.client.entered():
            stalled = socket.socket()
        with stalled:
            stalled.settimeout(CONNECT_SECONDS)
            stalled.connect(turn.front)
            beside = turn.load(*words, step="beside a stalled one")
            after = cpu.private_bytes(turn.contender.pids())
        beside["extra"] = {"rate_ratio": beside["rate"] / alone["rate"] if alone["rate"] else None}
        if turn.contender.has_process:
            beside["extra"]["grown_bytes"] = max(0, after - before)


SCENARIO = SlowReader
