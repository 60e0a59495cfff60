"""direct: no balancer. The client talks to the backend's own address, and the balancer's namespace forwards the packets."""
from usher_compare.contender import Contender


class Direct(Contender):
    name = "direct"
    title = "plain IP forwarding"
    family = "direct"
    in_quick = True

    def configuration(self, setup):
        return "net.ipv4.ip_forward = 1\n"

    def start(self, setup):
        self.front = setup.backends[0]


CONTENDER = Direct
