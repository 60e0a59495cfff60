"""Listeners of the kernel datapath: how a test sets one up, and how it knows that the kernel served it."""
import contextlib
import socket
import subprocess

import pytest

from .network import fresh_address
from .packets import Program
from .peers import require_separate
from .toml import config, listener, pool
from .waiting import eventually

# enum PathVerdict of usher/steer/path_abi.h.
VERDICTS = ("forwarded", "opened", "adopted", "no_backend", "no_port", "table_full", "local_socket", "unknown", "reset_down", "too_big", "icmp",
            "fragment", "fragment_lost", "hops", "malformed")
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
MODES = pytest.mark.parametrize("mode", ["nat", "dnat"])
COMMAND_SECONDS = 20


def ip(place, *words):
    """Runs ip(8) on a namespace of the test."""
    done = subprocess.run(["ip", "-n", place.name, *(str(word) for word in words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=COMMAND_SECONDS)
    assert done.returncode == 0, f"ip -n {place.name} {' '.join(map(str, words))}: {done.stderr.strip()}"


@contextlib.contextmanager
def added(place, what, *words):
    """`ip WHAT add WORDS` for as long as the block lasts."""
    options = ["-6"] if any(":" in str(word) for word in words) else []
    run = lambda verb, rest: ip(place, *options, what, verb, *rest)
    run("add", words)
    try:
        yield
    finally:
        run("delete", words)


def near_backend(network, family):
    """The balancer's address on the backend's side: what nat sends from."""
    return "10.77.2.1" if family == socket.AF_INET else "fd77:0:0:2::1"


@contextlib.contextmanager
def way_back(network, mode, family):
    """What `mode` needs of the topology: for dnat the backend's way to clients is through the balancer."""
    if mode != "dnat":
        yield
        return
    with added(network.backend, "route", "default", "via", near_backend(network, family), "dev", "up0"):
        yield


class KernelFront:
    """An usher with one listener, web, on the kernel datapath. REQUIRES: separate namespaces."""

    def __init__(self, bench, network, start_usher, backends, family=socket.AF_INET, mode="nat", bind=None, pools=None, listener_keys=None,
                 global_keys=None, **pool_keys):
        require_separate(network)
        self.network, self.family, self.mode = network, family, mode
        self.front = bind or fresh_address(network.balancer, family)
        self.pool_keys = {"algorithm": "two_choices", **pool_keys}
        self.listener_keys = {"datapath": "kernel", "kernel_mode": mode, **(listener_keys or {})}
        self.global_keys = {"workers": 1, **(global_keys or {})}
        self.usher = start_usher(self.config(backends))
        assert self.choice()[0] == "kernel", self.choice()
        self.program = Program(bench)

    def config(self, backends, **pool_keys):
        return config(listener(self.front.text, **self.listener_keys), pool(backends, **{**self.pool_keys, **pool_keys}), **self.global_keys)

    def choice(self):
        """(datapath, why)"""
        row, = self.usher.get("/api/v1/listeners")["listeners"]
        return row["datapath"], row["datapath_reason"]

    def verdicts(self):
        """{name: how often}"""
        return {VERDICTS[number]: count for number, count in self.program.verdicts().items() if number < len(VERDICTS)}

    def accepted(self):
        return int(self.usher.metrics().sum("usher_connections_accepted_total"))

    def entries(self, table="path_flows"):
        """Entries of a table, one a direction, as bpftool shows them: {(source port, destination port): flow}."""
        return self.program.dump(table)

    def assert_kernel_served(self, opened=1):
        """At least `opened` connections went through the kernel, and not one through the proxy."""
        seen = self.verdicts()
        assert seen["opened"] >= opened and seen["forwarded"] > 3 * opened, seen
        assert self.accepted() == 0, f"the proxy accepted {self.accepted()}; verdicts {seen}"
        wrong = {name: seen[name] for name in ("no_port", "table_full", "malformed", "no_backend", "hops") if seen[name]}
        assert not wrong, f"{wrong} of {seen}"

    def eventually_new_go_to(self, names, client_of, count=30):
        """The next `count` connections all go to one of `names`; bounded."""
        eventually(lambda: {client_of() for _ in range(count)} <= set(names), 10, f"new connections go to {names} only")
