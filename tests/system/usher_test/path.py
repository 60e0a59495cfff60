"""An usher on the kernel datapath, packet by packet: what a client or a backend would send, and what becomes of it."""
import socket

import pytest

from .network import Address
from .packets import REDIRECT, Program
from .peers import NameServers, require_separate
from .toml import config, listener, pool

scapy = pytest.importorskip("scapy.all", reason="scapy is missing (python3-scapy)")
from scapy.all import IP, TCP, Ether, IPv6, Raw  # noqa: E402

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
LOCAL_PORTS, FIRST_PORT = "1024 65535", 40000
CLIENT_PORT = 50001
OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1234, 0)), ("NOP", None), ("WScale", 7)]


class Path:
    """An usher on the kernel datapath, and how its packets look."""

    def __init__(self, bench, network, start_usher, family, mode="nat", algorithm="maglev", behind=None, names=("a",), ports=1000):
        """`behind`: the backends' family, where it isn't the listener's. `ports`: how many source ports nat has."""
        require_separate(network)
        self.restore, self.narrowed = [], []
        self.family, self.mode = FAMILIES[family], mode
        self.network, self.bench = network, bench
        # The stack takes every port by itself but these.
        self.ports = set(range(FIRST_PORT, FIRST_PORT + ports))
        for setting, value in (("ip_local_port_range", LOCAL_PORTS), ("ip_local_reserved_ports", f"{FIRST_PORT}-{max(self.ports)}")):
            self.restore.append((setting, network.balancer.sysctl(f"net.ipv4.{setting}")))
            network.balancer.sysctl(f"net.ipv4.{setting}", value)
        self.servers = NameServers(bench, list(names), family=FAMILIES[behind or family])
        self.backend = self.servers.addresses["a"]
        self.front = Address(network.balancer.address(self.family), self.backend.port)
        self.client = network.client.address(self.family)
        # What no client will ever end needs no patience at the end.
        self.usher = start_usher(config(listener(self.front.text, datapath="kernel", kernel_mode=mode),
                                        pool(self.servers.pairs, algorithm=algorithm), workers=1, drain_timeout="100ms"))
        self.program = Program(bench)

    def ether(self, interface="to1"):
        return Ether(src="02:00:00:00:00:77", dst=self.program.mac(interface))

    def ip(self, source, destination, **fields):
        if self.family == socket.AF_INET:
            return IP(src=source, dst=destination, **fields)
        return IPv6(src=source, dst=destination, **({"hlim": fields.pop("ttl")} if "ttl" in fields else {}), **fields)

    def from_client(self, flags="S", port=CLIENT_PORT, payload=b"", between=None, options=OPTIONS, **fields):
        head = self.ether() / self.ip(self.client, self.front.ip, **fields)
        if between is not None:
            head = head / between
        packet = head / TCP(sport=port, dport=self.front.port, flags=flags, seq=1000, ack=0 if flags == "S" else 2001, options=options)
        return rebuilt(packet / Raw(payload) if payload else packet)

    def read(self, raw):
        return Ether(raw)

    def narrow(self, interface, mtu):
        """Packets that leave there are no longer than this from here on."""
        self.bench.run(["ip", "link", "set", "dev", interface, "mtu", mtu], place=self.network.balancer)
        self.narrowed.append(interface)

    def put_back(self):
        """The network is every test's."""
        for setting, value in self.restore:
            self.network.balancer.sysctl(f"net.ipv4.{setting}", value)
        for interface in self.narrowed:
            self.bench.run(["ip", "link", "set", "dev", interface, "mtu", 1500], place=self.network.balancer)
        for family in ("-4", "-6"):  # what the client has learned of the way's MTU
            self.bench.run(["ip", family, "route", "flush", "cache"], place=self.network.client)

    def open(self, port=CLIENT_PORT):
        """A SYN of a client; what of it reaches the backend."""
        verdict, out = self.program.run(self.from_client(port=port))
        assert verdict == REDIRECT
        return self.read(out)

    def answer(self, opened, flags="SA", payload=b"", seq=2000):
        """What the backend says to a packet that reached it."""
        ip, tcp = layer_of(opened), opened[TCP]
        packet = self.ether("to2") / self.ip(ip.dst, ip.src) / TCP(sport=tcp.dport, dport=tcp.sport, flags=flags, seq=seq, ack=1001, options=OPTIONS)
        return rebuilt(packet / Raw(payload) if payload else packet)

    def establish(self, port=CLIENT_PORT):
        opened = self.open(port)
        assert self.program.run(self.answer(opened), "to2")[0] == REDIRECT
        assert self.program.run(self.from_client("A", port))[0] == REDIRECT
        return opened


def layer_of(packet):
    return packet[IP] if IP in packet else packet[IPv6]


def rebuilt(packet):
    """The packet with every length and checksum as scapy reckons them."""
    return Ether(bytes(packet))


def assert_sums_are_right(raw):
    """Takes every checksum out, lets scapy put its own in, and compares the bytes."""
    packet = Ether(raw)
    again = packet.copy()
    layer = again
    while layer is not None and not isinstance(layer, (Raw,)):
        if "chksum" in getattr(layer, "fields", {}) and layer.name not in ("IP in ICMP", "TCP in ICMP"):
            del layer.chksum
        if "cksum" in getattr(layer, "fields", {}):
            del layer.cksum
        layer = layer.payload if layer.payload else None
    assert bytes(again) == raw, f"scapy reckons otherwise:\n{Ether(bytes(again)).show(dump=True)}\ncame:\n{packet.show(dump=True)}"


@pytest.fixture
def path(bench, network, start_usher):
    made = []

    def make(family, mode="nat", **options):
        made.append(Path(bench, network, start_usher, family, mode, **options))
        return made[-1]

    yield make
    for one in made:
        one.put_back()
