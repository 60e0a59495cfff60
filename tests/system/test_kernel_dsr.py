"""Direct server return end to end: an usher that wraps, `usher dsr` on the backend that unwraps, real servers and real clients."""
import contextlib
import hashlib
import socket
import subprocess

import pytest

from usher_test.network import Address, fresh_address
from usher_test.peers import NGINX_STREAM, Nginx, needs, require_separate  # noqa: F401
from usher_test.toml import config, listener, pool
from usher_test.usher import BINARY
from usher_test.waiting import eventually

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
SERVICE = {"4": "10.77.9.9", "6": "fd77:0:0:9::9"}
ANSWER_BYTES = 20_000_000
both_families = pytest.mark.parametrize("family", FAMILIES)


def ip(bench, place, *words):
    return bench.run(["ip", *words], place=place)


@pytest.fixture
def world(bench, network):
    """The service's addresses at the balancer and on the backend's lo; answers go by the balancer's host as a router, past usher."""
    require_separate(network)
    with contextlib.ExitStack() as undo:
        def do(place, *words):
            ip(bench, place, *words)
            opposite = [("del" if word == "add" else word) for word in words if word != "nodad"]
            undo.callback(lambda: bench.run(["ip", *opposite], place=place, status=None))

        def sysctl(place, key, value):
            undo.callback(place.sysctl, key, place.sysctl(key))
            place.sysctl(key, value)

        for number, (address, net) in {"4": (SERVICE["4"] + "/32", "10.77"), "6": (SERVICE["6"] + "/128", "fd77:0:0")}.items():
            last = (lambda n, host: f"{net}.{n}.{host}") if number == "4" else (lambda n, host: f"{net}:{n}::{host}")
            wide = (lambda n: f"{net}.{n}.0/24") if number == "4" else (lambda n: f"{net}:{n}::/64")
            extra = ["nodad"] if number == "6" else []
            do(network.balancer, f"-{number}", "address", "add", address, "dev", "to1", *extra)
            do(network.backend, f"-{number}", "address", "add", address, "dev", "lo", *extra)
            do(network.client, f"-{number}", "route", "add", address, "via", last(1, 1))
            do(network.backend, f"-{number}", "route", "add", wide(1), "via", last(2, 1))
        sysctl(network.balancer, "net.ipv4.ip_forward", "1")
        sysctl(network.balancer, "net.ipv6.conf.all.forwarding", "1")
        # What the service's address sends comes back to a host that has it, too.
        for key in ("all", "to2"):
            sysctl(network.balancer, f"net.ipv4.conf.{key}.accept_local", "1")
            sysctl(network.balancer, f"net.ipv4.conf.{key}.rp_filter", "0")
        yield network


class Dsr:
    """A listener in dsr mode, a server that listens on the service's address, and `usher dsr` beside it."""

    def __init__(self, bench, network, start_usher, family, behind):
        self.bench, self.network = bench, network
        self.front = Address(SERVICE[family], fresh_address(network.backend, FAMILIES[family]).port)
        backend = Address(network.backend.address(FAMILIES[behind]), self.front.port)
        self.root = bench.path("files")
        self.root.mkdir()
        (self.root / "big").write_bytes(bytes(range(251)) * (ANSWER_BYTES // 251))
        self.nginx = Nginx(bench, self.front, http="client_max_body_size 100m; server { listen %s; root %s; location /who { return 200 "
                           "\"$remote_addr $remote_port $server_addr\\n\"; } location /put { dav_methods PUT; } }" % (self.front.text, self.root))
        self.dsr = bench.start([BINARY, "dsr", "--interface", "up0", "--address", self.front.ip], name="dsr", place=network.backend)
        self.dsr.wait_until(lambda: "until SIGTERM" in self.dsr.output(), 15, "attached")
        self.usher = start_usher(config(listener(self.front.text, datapath="kernel", kernel_mode="dsr"),
                                        pool([("a", backend.text)], algorithm="maglev"), workers=1))

    def curl(self, path, *words):
        return self.bench.run([needs("curl"), "-sS", "--noproxy", "*", "--max-time", "20", *words, f"http://{self.front.text}{path}"],
                              place=self.network.client).stdout


@pytest.fixture
def dsr(bench, world, start_usher):
    return lambda family="4", behind=None: Dsr(bench, world, start_usher, family, behind or family)


@pytest.mark.parametrize("behind", FAMILIES)
@both_families
def test_answers_come_from_the_service_and_requests_from_the_client(dsr, world, family, behind):
    it = dsr(family, behind)
    said = it.curl("/who", "-w", "%{remote_ip} %{local_ip} %{local_port}").split()
    client = world.client.address(FAMILIES[family])
    # What the server sees: the client, at its own port, and the service's address as its own; what the client sees: the service.
    assert said == [client, said[-1], it.front.ip, it.front.ip, client, said[-1]]
    assert "packets unwrapped" not in it.dsr.output()
    it.dsr.signal(15)
    assert it.dsr.wait() == 0
    counted = int(it.dsr.output().split("detached: ")[1].split(" ")[0])
    assert counted >= 4 and "0 refused by the kernel" in it.dsr.output()


def test_a_flow_of_one_entry_is_one_flow(dsr, world):
    it = dsr()
    flows = lambda: it.usher.metrics().sum("usher_kernel_flows")
    with world.client.connect(it.front), world.client.connect(it.front), world.client.connect(it.front):
        eventually(lambda: flows() == 3, 5, "three flows")


@pytest.mark.parametrize("behind", FAMILIES)
@both_families
def test_a_big_answer_and_a_big_request_arrive_byte_for_byte(dsr, family, behind):
    it = dsr(family, behind)
    got = it.bench.path("got")
    it.curl("/big", "-o", str(got))
    expected = hashlib.sha256((it.root / "big").read_bytes()).hexdigest()
    assert hashlib.sha256(got.read_bytes()).hexdigest() == expected
    # The other way packets grow by a header: full-sized segments no longer fit, and the client is told, or its large ones are cut smaller.
    with echo_server(it) as port:
        assert upload(it, port, (it.root / "big").read_bytes()) == expected


@contextlib.contextmanager
def echo_server(it):
    """A server at the service's address that answers a whole upload with its digest; nginx gives up its port for it."""
    it.nginx.process.stop()
    listening = it.network.backend.new_socket(socket.AF_INET6 if ":" in it.front.ip else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(tuple(it.front))
    listening.listen(1)
    listening.settimeout(20)
    try:
        yield listening
    finally:
        listening.close()


def upload(it, listening, content):
    sender = it.network.client.connect(it.front, seconds=20)
    accepted, _ = listening.accept()
    accepted.settimeout(20)
    digest, received = hashlib.sha256(), 0
    sender.setblocking(False)
    import select
    left = memoryview(content)
    while received < len(content):
        readable, writable, _ = select.select([accepted], [sender] if left else [], [], 20)
        assert readable or writable, f"nothing moves after {received} bytes"
        if writable:
            left = left[sender.send(left[:262144]):]
        if readable:
            piece = accepted.recv(262144)
            digest.update(piece)
            received += len(piece)
    sender.close()
    accepted.close()
    return digest.hexdigest()


def test_without_it_a_wrapped_packet_reaches_nobody(dsr, world):
    """And after its end the host is as it was: nothing stays attached."""
    it = dsr("4")
    assert it.curl("/who")
    it.dsr.signal(15)
    assert it.dsr.wait() == 0
    assert "dsr_backend" not in it.bench.run([needs("bpftool"), "net", "show"], place=world.backend).stdout
    failed = it.bench.run([needs("curl"), "-sS", "--noproxy", "*", "--max-time", "1", f"http://{it.front.text}/who"], place=world.client, status=None)
    assert failed.returncode == 28


def test_nothing_stays_attached_when_it_is_killed(dsr, world):
    it = dsr("4")
    it.dsr.kill()
    assert "dsr_backend" not in it.bench.run([needs("bpftool"), "net", "show"], place=world.backend).stdout


@pytest.mark.parametrize("words, status, expected", [
    (["--address", "10.77.9.9"], 2, "--interface is required"),
    (["--interface", "up0"], 2, "--address is required"),
    (["--interface", "up0", "--address"], 2, "--address wants a value"),
    (["--interface", "up0", "--address", "10.77.9"], 2, "'10.77.9' is no IP address"),
    (["--interface", "nope", "--address", "10.77.9.9"], 1, "there is no interface 'nope' here"),
    (["--interface", "lo", "--address", "10.77.9.9"], 1, "lo is no Ethernet interface"),
])
def test_what_it_cant_do_is_said_in_one_line(bench, network, words, status, expected):
    done = bench.run([BINARY, "dsr", *words], place=network.backend, status=status)
    assert expected in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


def test_without_privilege_it_says_what_is_missing(bench, network):
    require_separate(network)
    command = network.backend.command(["setpriv", "--bounding-set=-all", "--inh-caps=-all", BINARY, "dsr", "--interface", "up0", "--address",
                                       "10.77.2.2"])
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
    assert done.returncode == 1 and "CAP_BPF" in done.stderr and done.stderr.count("\n") == 1


def test_an_address_that_the_host_lacks_is_warned_of(bench, network):
    require_separate(network)
    process = bench.start([BINARY, "dsr", "--interface", "up0", "--address", "10.77.9.10"], name="dsr", place=network.backend)
    process.wait_until(lambda: "until SIGTERM" in process.output(), 15, "attached")
    assert "10.77.9.10 is no address of this host" in process.output() and "ip address add 10.77.9.10/32 dev lo" in process.output()
    process.signal(2)
    assert process.wait() == 0
