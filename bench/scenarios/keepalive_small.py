"""keepalive_small: users on a web application, each on a connection of its own, one small request after the other."""
from usher_compare.scenario import Scenario

CONNECTIONS = 64
ANSWER_BYTES = 128


class KeepaliveSmall(Scenario):
    name = "keepalive_small"
    title = f"{CONNECTIONS} connections, small HTTP requests and answers of {ANSWER_BYTES} bytes, keep-alive."
    unit = "request"
    backend_kind = "http"
    in_quick = True
    target = 0.85
    kernel_target = 0.10

    def turn(self, turn):
        turn.load("http", f"http://{turn.address}/{ANSWER_BYTES}", "--connections", CONNECTIONS)


SCENARIO = KeepaliveSmall
