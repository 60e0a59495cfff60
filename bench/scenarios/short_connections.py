"""short_connections: connect, one request, one answer, close. The noisiest of all, so it takes ten rounds."""
from usher_compare.scenario import Scenario

CONNECTIONS = 32
MESSAGE_BYTES = 64


class ShortConnections(Scenario):
    name = "short_connections"
    title = f"Connect, one request and answer of {MESSAGE_BYTES} bytes, close; {CONNECTIONS} at a time."
    unit = "connection"
    backend_kind = "answer"
    rounds = 10
    in_quick = True
    target = 0.80
    kernel_target = 0.12

    def turn(self, turn):
        turn.load("connect", turn.address, "--connections", CONNECTIONS, "--request", MESSAGE_BYTES, "--answer", MESSAGE_BYTES)


SCENARIO = ShortConnections
