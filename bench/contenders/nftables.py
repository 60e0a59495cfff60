"""nftables: DNAT in the kernel, routed back through the balancer. The table exists only in this contender's own turn.

Rules are what registers conntrack's hooks in a namespace, so nobody else pays for them.
"""
import subprocess

from usher_compare.contender import FRONT_PORT, Contender, first_line_of
from usher_compare.failure import Spoiled

TABLE = "usher_bench"
COMMAND_SECONDS = 20
# Closed connections leave the table at once, or the rounds of short ones would fill it.
TIMEOUTS = {"net/netfilter/nf_conntrack_tcp_timeout_time_wait": "1", "net/netfilter/nf_conntrack_tcp_timeout_close": "1"}


class Nftables(Contender):
    name = "nftables"
    title = "nftables DNAT"
    family = "nftables"
    can_reload = True
    programs = (("nft", "nftables"),)

    def __init__(self):
        super().__init__()
        self.place = None

    def version(self):
        return first_line_of(["nft", "--version"])

    def configuration(self, setup):
        if len(setup.backends) == 1:
            target = "dnat to {}:{}".format(*setup.backends[0])
        else:
            choices = ", ".join(f"{number} : {ip} . {port}" for number, (ip, port) in enumerate(setup.backends))
            target = f"dnat ip to numgen inc mod {len(setup.backends)} map {{ {choices} }}"
        return (f"table ip {TABLE} {{\n  chain prerouting {{\n    type nat hook prerouting priority dstnat;\n"
                f"    ip daddr {setup.network.balancer.ip} tcp dport {FRONT_PORT} {target}\n  }}\n}}\n")

    def start(self, setup):
        self.place = setup.network.balancer
        self.front = (self.place.ip, FRONT_PORT)
        self._nft(f"add table ip {TABLE}\ndelete table ip {TABLE}\n" + self.configuration(setup))
        for key, value in TIMEOUTS.items():
            self.place.set(key, value)

    def reload(self, setup):
        """nft(8): one file is one transaction."""
        self._nft(f"delete table ip {TABLE}\n" + self.configuration(setup))

    def stop(self):
        if self.place:
            self._nft(f"add table ip {TABLE}\ndelete table ip {TABLE}\n")
            self.place = None

    def _nft(self, rules):
        with self.place.entered():
            done = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, text=True, timeout=COMMAND_SECONDS)
        if done.returncode != 0:
            raise Spoiled(f"nft refused the rules: {done.stderr.strip()}")


CONTENDER = Nftables
