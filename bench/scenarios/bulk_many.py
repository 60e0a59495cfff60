"""bulk_many: 64 streams from a backend to a client, as fast as they go."""
from usher_compare.scenario import Scenario

CONNECTIONS = 64


class BulkMany(Scenario):
    name = "bulk_many"
    title = f"{CONNECTIONS} streams from the backend to the client, as fast as they go."
    unit = "GiB"
    backend_kind = "source"
    in_quick = True
    target = 0.70
    kernel_target = 0.05

    def turn(self, turn):
        turn.load("stream", turn.address, "--connections", CONNECTIONS, "--direction", "down")


SCENARIO = BulkMany
