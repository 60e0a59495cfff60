"""bulk_one: one stream from a backend to a client, as fast as it goes."""
from usher_compare.scenario import Scenario


class BulkOne(Scenario):
    name = "bulk_one"
    title = "One stream from the backend to the client, as fast as it goes."
    unit = "GiB"
    backend_kind = "source"
    in_quick = True
    target = 0.70
    kernel_target = 0.05
    connections = 1

    def turn(self, turn):
        turn.load("stream", turn.address, "--connections", self.connections, "--direction", "down")


SCENARIO = BulkOne
