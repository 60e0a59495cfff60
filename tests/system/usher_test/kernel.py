"""Listeners of the kernel datapath: how a test sets one up, and how it knows that the kernel served it."""
import collections
import contextlib
import ctypes
import json
import os
import platform
import socket
import struct
import subprocess

import pytest

from .network import fresh_address
from .packets import WAYS, Program
from .peers import needs, require_separate
from .toml import config, listener, pool

# enum PathVerdict of usher/steer/path_abi.h.
VERDICTS = ("forwarded", "opened", "adopted", "no_backend", "no_port", "table_full", "local_socket", "unknown", "reset_down", "too_big", "icmp",
            "fragment", "fragment_lost", "hops", "malformed")
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
MODES = pytest.mark.parametrize("mode", ["nat", "dnat"])
COMMAND_SECONDS = 20
BPF_SYSTEM_CALL = {"x86_64": 321, "aarch64": 280}
BPF_PROG_TEST_RUN, BPF_PROG_GET_FD_BY_ID = 10, 13
TO_CLIENT = 1  # enum PathFlowFlags

Sweep = collections.namedtuple("Sweep", "flows half_open ended")  # struct PathSweep

_libc = ctypes.CDLL(None, use_errno=True)


def ip(place, *words):
    """Runs ip(8) on a namespace of the test."""
    done = subprocess.run(["ip", "-n", place.name, *(str(word) for word in words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=COMMAND_SECONDS)
    assert done.returncode == 0, f"ip -n {place.name} {' '.join(map(str, words))}: {done.stderr.strip()}"


@contextlib.contextmanager
def added(place, what, *words):
    """`ip WHAT add WORDS` for as long as the block lasts."""
    options = ["-6"] if any("::" in str(word) for word in words) else []
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


def without_clsact(place):
    """usher leaves the qdisc, which could be another's."""
    for device in ("to1", "to2"):
        subprocess.run(place.command([needs("tc"), "qdisc", "del", "dev", device, "clsact"]), capture_output=True, timeout=20)


def bpf(command, attributes):
    answer = _libc.syscall(BPF_SYSTEM_CALL[platform.machine()], command, attributes, len(attributes))
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf({command}): {os.strerror(number)}")
    return answer


def run_syscall_program(number, argument_bytes):
    """Runs a program of type BPF_PROG_TYPE_SYSCALL on zeros; its argument afterwards, which bpftool doesn't show."""
    argument = ctypes.create_string_buffer(argument_bytes)
    descriptor = bpf(BPF_PROG_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=III", number, 0, 0), 12))
    try:
        # union bpf_attr.test: prog_fd, retval, data sizes and pointers, repeat, duration, ctx_size_in, ctx_size_out, ctx_in, ctx_out.
        attributes = struct.pack("=4I2Q4I2Q", descriptor, 0, 0, 0, 0, 0, 0, 0, argument_bytes, 0, ctypes.addressof(argument), 0)
        bpf(BPF_PROG_TEST_RUN, ctypes.create_string_buffer(attributes, len(attributes)))
    finally:
        os.close(descriptor)
    return argument.raw


class KernelFront:
    """An usher with one listener, web, on the kernel datapath. REQUIRES: separate namespaces."""

    def __init__(self, bench, network, start_usher, backends, family=socket.AF_INET, mode="nat", bind=None, pools=None, listener_keys=None,
                 global_keys=None, beside=None, way="tcx", **pool_keys):
        """`beside`: (listener, pool), tables of the configuration, for a second front."""
        require_separate(network)
        self.network, self.family, self.mode = network, family, mode
        self.front = bind or fresh_address(network.balancer, family)
        self.pool_keys = {"algorithm": "two_choices", **pool_keys}
        self.listener_keys = {"datapath": "kernel", "kernel_mode": mode, **(listener_keys or {})}
        self.global_keys = {"workers": 1, **(global_keys or {})}
        self.beside = beside
        self.bench = bench
        self.usher = start_usher(self.config(backends), environment=WAYS[way])
        assert self.choice()[0] == "kernel", self.choice()
        self.program = Program(bench)

    def config(self, backends, **pool_keys):
        listeners = [listener(self.front.text, **self.listener_keys)]
        pools = [pool(backends, **{**self.pool_keys, **pool_keys})]
        if self.beside:
            listeners.append(self.beside[0])
            pools.append(self.beside[1])
        return config(listeners, pools, **self.global_keys)

    def choice(self, name="web"):
        """(datapath, why)"""
        row, = (one for one in self.usher.get("/api/v1/listeners")["listeners"] if one["name"] == name)
        return row["datapath"], row["datapath_reason"]

    def verdicts(self):
        """{name: how often}"""
        return {VERDICTS[number]: count for number, count in self.program.verdicts().items() if number < len(VERDICTS)}

    def accepted(self):
        return int(self.usher.metrics().sum("usher_connections_accepted_total"))

    def established_ports(self):
        """Ports of the clients that have a flow in the table of established ones."""
        rows = [row["formatted"] for row in self.program.dump("path_flows")]
        return {socket.ntohs(row["key"]["source_port"]) for row in rows if not row["value"]["flags"] & TO_CLIENT}

    def sweep(self):
        """Runs usher's own sweep, now: what it found."""
        mine = set(self.program.maps.values())
        listed = json.loads(self.bench.run(["bpftool", "-j", "prog", "show", "name", "path_sweep"]).stdout)
        number, = (one["id"] for one in (listed if isinstance(listed, list) else [listed]) if set(one["map_ids"]) & mine)
        return Sweep(*struct.unpack("=3Q", run_syscall_program(number, struct.calcsize("=3Q"))))

    def assert_kernel_served(self, opened=1):
        """At least `opened` connections went through the kernel, and not one through the proxy."""
        seen = self.verdicts()
        assert seen["opened"] >= opened and seen["forwarded"] > 3 * opened, seen
        assert self.accepted() == 0, f"the proxy accepted {self.accepted()}; verdicts {seen}"
        wrong = {name: seen[name] for name in ("no_port", "table_full", "malformed", "no_backend", "hops") if seen[name]}
        assert not wrong, f"{wrong} of {seen}"
