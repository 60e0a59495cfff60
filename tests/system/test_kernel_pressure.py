"""The kernel datapath's table under pressure: as many flows as it is made for, and a SYN flood; what was established goes on."""
import itertools
import socket
import sys
import time

import pytest

from usher_test import peers
from usher_test.clients import exchange_once, receive_line
from usher_test.flood import ACK, DESTINATION_AT, DESTINATION_PORT_AT, SOURCE_AT, SOURCE_PORT_AT, SYN, Wire, hardware_address
from usher_test.kernel import KernelFront, added, way_back
from usher_test.network import Address, fresh_address
from usher_test.peers import SERVERS, NameServers
from usher_test.toml import listener, pool
from usher_test.waiting import eventually

ESTABLISHED = 100
FLOWS_MAX = 200_000       # KernelPathOptions
HALF_OPEN_MAX = 32_768
MADE_UP = "10.79"         # clients that aren't there
NOBODY = "10.77.2.99"     # a backend that isn't there
FLOOD_SECONDS, FLOOD_PACKETS_MAX = 3.0, 2_000_000
CROWD_PORTS = range(2000, 52000)
BATCH = 64                # packets in flight between two namespaces: far fewer than a device's queue has room for


class Talk:
    """Established connections that are all used, again and again."""

    def __init__(self, network, front):
        self.clients = [network.client.connect(front) for _ in range(ESTABLISHED)]
        for client in self.clients:
            receive_line(client)
        self.rounds = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.close()

    def round(self):
        """Every connection sends something of its own, and gets it back."""
        for number, client in enumerate(self.clients):
            client.sendall(b"round %d of %d\n" % (self.rounds, number))
        for number, client in enumerate(self.clients):
            assert receive_line(client) == f"round {self.rounds} of {number}"
        self.rounds += 1

    def rounds_a_second(self, seconds):
        first, began = self.rounds, time.monotonic()
        while time.monotonic() < began + seconds:
            self.round()
        return (self.rounds - first) / (time.monotonic() - began)

    @property
    def ports(self):
        return {client.getsockname()[1] for client in self.clients}


def test_a_syn_flood_evicts_no_established_flow(bench, network, start_usher):
    peers.require_separate(network)
    servers = NameServers(bench, ["a", "b"])
    it = KernelFront(bench, network, start_usher, servers.pairs)
    with added(network.balancer, "route", f"{MADE_UP}.0.0/16", "via", network.client.ip4), Talk(network, it.front) as talk:
        assert it.established_ports() == talk.ports
        before = talk.rounds_a_second(1.0)
        flood = bench.start([sys.executable, SERVERS.with_name("syn_flood.py"), "up0", hardware_address(network.balancer, "to1"),
                             hardware_address(network.client, "up0"), it.front.ip, it.front.port, MADE_UP, FLOOD_SECONDS, FLOOD_PACKETS_MAX],
                            name="flood", place=network.client)
        eventually(lambda: it.verdicts()["opened"] > 2 * ESTABLISHED, 10, "the flood has begun")
        during = talk.rounds_a_second(1.0)
        served = [exchange_once(network.client, it.front) for _ in range(5)]
        assert flood.running(), "the flood ended too early: this test shows nothing"
        assert flood.wait(30) == 0
        sent = int(flood.output())
        seen, swept = it.verdicts(), it.sweep()
        print(f"flood: {sent / FLOOD_SECONDS:,.0f} SYNs a second; rounds a second: {before:.0f} before, {during:.0f} during; {seen}; {swept}")
        talk.round()
        assert set(served) <= {"a", "b"}
        assert it.established_ports() >= talk.ports, "flows were evicted"
        assert seen["opened"] + seen["no_port"] >= min(sent, HALF_OPEN_MAX) // 2, seen
        assert swept.half_open <= 2 * HALF_OPEN_MAX, swept
        assert swept.flows - swept.half_open <= ESTABLISHED + len(served), swept


class Crowd:
    """Clients that aren't there, who shake hands with a backend that isn't there, through dnat: three packets a flow, by nobody's socket."""

    def __init__(self, near, far, front, backend):
        client = (f"{MADE_UP}.0.1", 1)
        self.send_near, self.send_far = near.send, far.send
        self.syn = bytearray(near.frame(client, front, SYN, sequence=1))
        self.answer = bytearray(far.frame(backend, client, SYN | ACK, sequence=1, acknowledgment=2))
        self.ack = bytearray(near.frame(client, front, ACK, sequence=2, acknowledgment=2))

        self.ends = (socket.inet_aton(f"{MADE_UP}.1.{address}") + port.to_bytes(2, "big") for address in range(250) for port in CROWD_PORTS)

    def shake_hands(self, count):
        while count:
            batch = list(itertools.islice(self.ends, min(BATCH, count)))
            count -= len(batch)
            for packet, ip_at, port_at, send in ((self.syn, SOURCE_AT, SOURCE_PORT_AT, self.send_near),
                                                 (self.answer, DESTINATION_AT, DESTINATION_PORT_AT, self.send_far),
                                                 (self.ack, SOURCE_AT, SOURCE_PORT_AT, self.send_near)):
                for end in batch:
                    packet[ip_at:ip_at + 4] = end[:4]
                    packet[port_at:port_at + 2] = end[4:]
                    send(packet)


@pytest.mark.seconds(180)
def test_two_hundred_thousand_flows_fit_beside_those_that_talk(bench, network, start_usher):
    peers.require_separate(network)
    servers = NameServers(bench, ["a"])
    nobody = Address(NOBODY, fresh_address(network.backend).port)
    crowded = fresh_address(network.balancer)
    beside = (listener(crowded.text, name="crowd", pool="nobody", datapath="kernel", kernel_mode="dnat"),
              pool([nobody.text], name="nobody", algorithm="two_choices"))
    with way_back(network, "dnat", socket.AF_INET), \
         added(network.balancer, "route", f"{MADE_UP}.0.0/16", "via", network.client.ip4), \
         added(network.balancer, "neigh", NOBODY, "lladdr", hardware_address(network.backend, "up0"), "dev", "to2"), \
         Wire(network, network.client) as near, Wire(network, network.backend) as far:
        it = KernelFront(bench, network, start_usher, servers.pairs, beside=beside)
        assert it.choice("crowd")[0] == "kernel", it.choice("crowd")
        with Talk(network, it.front) as talk:
            began = time.monotonic()
            crowd = Crowd(near, far, crowded, nobody)
            crowd.shake_hands(FLOWS_MAX - ESTABLISHED)
            talk.round()
            swept = it.sweep()
            print(f"crowd: {swept}, {time.monotonic() - began:.1f} s")
            established = swept.flows - swept.half_open
            assert established >= 0.99 * FLOWS_MAX, swept
            # More than fit: who is idle makes room, who talks does not.
            for _ in range(20):
                crowd.shake_hands(1000)
                talk.round()
            assert it.sweep().flows <= 2 * FLOWS_MAX  # entries, and where the LRU has dropped one, the other is all of a flow
            assert it.accepted() == 0
