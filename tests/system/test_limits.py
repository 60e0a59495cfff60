"""Limits: what is too much is shed by name; descriptors, ports and pipes that run out end nothing but the sessions in want."""
import os
import pathlib
import re
import resource
import shutil
import sys

import pytest

from usher_test import peers
from usher_test.clients import ending, exchange_once, receive_line
from usher_test.network import address_of
from usher_test.peers import NameServers
from usher_test.streams import Strand, digest_of, hash_stream, send_stream
from usher_test.toml import config, listener, pool
from usher_test.usher import BINARY
from usher_test.waiting import SLOWNESS, eventually, observe

UNPRIVILEGED = 64321  # a user id that no account has


class Crowd:
    """Clients that come and stay."""

    def __init__(self, network, front):
        self.network, self.front, self.held = network, front, []

    def come(self, count):
        for _ in range(count):
            self.held.append(self.network.client.connect(self.front))
        return self.held[-count:]

    def leave(self):
        for client in self.held:
            client.close()
        self.held = []


@pytest.fixture
def crowd(network, front, start_usher):
    made = Crowd(network, front)
    yield made
    made.leave()


@pytest.mark.sanitized
@pytest.mark.parametrize("where", ["global", "listener"])
def test_past_max_connections_new_ones_are_shed_and_the_old_ones_go_on(bench, start_usher, front, crowd, where):
    servers = NameServers(bench, ["a"])
    of_listener = {"max_connections": 4} if where == "listener" else {}
    of_global = {"max_connections": 4} if where == "global" else {}
    usher = start_usher(config(listener(front.text, **of_listener), pool(servers.pairs), workers=1, **of_global))
    inside = crowd.come(4)
    for client in inside:
        assert receive_line(client) == "a"
    for client in crowd.come(3):
        assert ending(client) in ("fin", "reset")
    usher.expect_outcome("shed", 3)
    for client in inside:
        client.sendall(b"go on\n")
        assert receive_line(client) == "go on"
    crowd.leave()
    eventually(lambda: usher.active() == 0, 5)
    assert exchange_once(crowd.network.client, front) == "a"


def test_a_limit_holds_across_workers(bench, start_usher, front, crowd):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), workers=4, max_connections=20))
    crowd.come(60)
    eventually(lambda: usher.outcomes().get("shed", 0) + usher.active() == 60, 5)
    assert usher.active() <= 20
    assert usher.active() >= 10, "a limit of 20 must not shrink to a fraction because there are four workers"


def test_a_backend_at_its_max_connections_gets_no_more(bench, start_usher, front, crowd):
    servers = NameServers(bench, ["small", "large"])
    rows = [{"name": name, "address": address.text, "max_connections": 3 if name == "small" else 0} for name, address in servers.addresses.items()]
    usher = start_usher(config(listener(front.text), pool(rows, algorithm="round_robin"), workers=2))
    names = [receive_line(client) for client in crowd.come(20)]
    assert names.count("small") == 3 and names.count("large") == 17
    assert usher.backends()["app/small"]["active"] == 3


@pytest.mark.sanitized
def test_deny_wins_over_allow(network, bench, start_usher, front):
    servers = NameServers(bench, ["a"])
    network_of_client = network.client.ip4.rsplit(".", 1)[0] + ".0/24"

    def with_rules(**rules):
        return config(listener(front.text, **rules), pool(servers.pairs))

    usher = start_usher(with_rules(allow=[network_of_client]))
    assert exchange_once(network.client, front) == "a"
    for number, rules in enumerate(({"allow": ["192.0.2.0/24"]}, {"deny": [network_of_client]},
                                    {"allow": ["0.0.0.0/0"], "deny": [network.client.ip4]}), 1):
        usher.reload(with_rules(**rules))
        with network.client.connect(front) as client:
            assert ending(client) in ("fin", "reset")
        usher.expect_outcome("denied", number)
    usher.reload(with_rules(allow=["0.0.0.0/0"], deny=["192.0.2.0/24"]))
    assert exchange_once(network.client, front) == "a"


def test_startup_says_what_the_descriptor_limit_allows(bench, network, start_usher, front, crowd):
    """Startup works out what RLIMIT_NOFILE allows and says what it set."""
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), workers=1), prefix=["prlimit", "--nofile=200:200"])
    status = usher.get("/api/v1/status")
    assert status["descriptors_max"] == 200
    assert 0 < status["connections_max"] < 100, status
    assert re.search(r"(descriptor|RLIMIT_NOFILE|nofile)", usher.process.output(), re.IGNORECASE)
    clients = crowd.come(150)
    eventually(lambda: usher.outcomes().get("shed", 0) + usher.active() == len(clients), 10, "every client is served or shed")
    assert usher.active() >= 20
    crowd.leave()
    eventually(lambda: usher.active() == 0, 10)
    assert exchange_once(network.client, front) == "a"


@pytest.mark.sanitized
def test_running_out_of_descriptors_neither_kills_nor_spins(bench, network, start_usher, front, crowd):
    """EMFILE in accept and in socket: the limit is lowered behind usher's back, below what it counted on."""
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), workers=1))
    kept = crowd.come(5)
    for client in kept:
        assert receive_line(client) == "a"
    before = resource.prlimit(usher.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(usher.process.pid, resource.RLIMIT_NOFILE, (usher.process.descriptors() + 7, before[1]))
    crowd.come(40)
    observe(0.5)  # what follows measures a steady state
    used = usher.process.cpu_seconds()
    observe(2.0)
    used = usher.process.cpu_seconds() - used
    assert usher.process.running()
    assert used < 0.5 * SLOWNESS, f"{used} s of processor time in 2 s: it spins"
    for client in kept:
        client.sendall(b"go on\n")
        assert receive_line(client) == "go on"
    lines = [line for line in usher.process.output().splitlines() if re.search("EMFILE|descriptor|Too many open files", line, re.IGNORECASE)]
    assert 1 <= len(lines) <= 12, f"said once, not for every connection; {len(lines)} lines: {lines[:12]}"
    resource.prlimit(usher.process.pid, resource.RLIMIT_NOFILE, before)
    crowd.leave()
    eventually(lambda: exchange_once(network.client, front) == "a", 10, "service goes on when there are descriptors again")


def test_running_out_of_local_ports_is_named_and_passes(bench, network, start_usher, front, crowd):
    """EADDRNOTAVAIL: three local ports towards one backend."""
    peers.require_separate(network)
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs, connect_attempts=1), workers=1))
    before = network.balancer.sysctl("net.ipv4.ip_local_port_range")
    network.balancer.sysctl("net.ipv4.ip_local_port_range", "40001 40003")
    try:
        clients = crowd.come(8)
        eventually(lambda: usher.active() + sum(usher.outcomes().values()) == 8, 5)
        assert usher.metrics().sum("usher_backend_connect_failures_total", backend="a", reason="no_local_address") >= 1
        eventually(lambda: usher.outcomes().get("shed", 0) >= 5, 5)
        assert usher.process.running() and len(clients) == 8
    finally:
        network.balancer.sysctl("net.ipv4.ip_local_port_range", before)
    crowd.leave()
    eventually(lambda: usher.active() == 0, 5)
    assert exchange_once(network.client, front) == "a"


def test_local_ports_that_run_out_towards_one_backend_are_retried_on_another(bench, network, start_usher, front, crowd):
    peers.require_separate(network)
    servers = NameServers(bench, ["a"])
    other = NameServers(bench, ["b"])
    usher = start_usher(config(listener(front.text), pool([*servers.pairs, *other.pairs], algorithm="round_robin"), workers=1))
    before = network.balancer.sysctl("net.ipv4.ip_local_port_range")
    network.balancer.sysctl("net.ipv4.ip_local_port_range", "40001 40004")
    try:
        for client in crowd.come(6):  # three each, of four ports
            assert receive_line(client) in ("a", "b")
    finally:
        network.balancer.sysctl("net.ipv4.ip_local_port_range", before)
    assert usher.active() == 6


@pytest.mark.sanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_pipe_ration_that_is_used_up_brings_nothing_to_a_halt(bench, network, start_usher, front):
    """fs.pipe-user-pages-soft holds for a user without CAP_SYS_RESOURCE: another process of that user takes it all."""
    as_user = ["setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups", "--"]
    hog = bench.start([*as_user, sys.executable, pathlib.Path(__file__).with_name("pipe_hog.py")], name="hog")
    if "no ration" in eventually(hog.output, 10):
        pytest.skip("this machine rations no pipes")
    os.chown(bench.directory, UNPRIVILEGED, UNPRIVILEGED)
    listening = network.backend.listen()
    usher = start_usher(config(listener(front.text), pool([address_of(listening).text])), binary=shutil.copy(BINARY, bench.path("usher")),
                        prefix=as_user)
    total = 64 << 20
    with network.client.connect(front) as client:
        backend, _ = listening.accept()
        backend.settimeout(20 * SLOWNESS)
        senders = [Strand(send_stream, client, 1, total), Strand(send_stream, backend, 2, total)]
        up, down = Strand(hash_stream, backend), Strand(hash_stream, client)
        assert up.get() == (total, digest_of(1, total)) and down.get() == (total, digest_of(2, total))
        for sender in senders:
            sender.get()
        backend.close()
    usher.expect_only(served=1)
    listening.close()
