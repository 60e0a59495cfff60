"""An usher of the kernel datapath with what it pins: how a test kills it, starts the next one, and looks at what is left."""
import contextlib
import json
import pathlib
import re
import subprocess

import pytest

from .clients import receive_line
from .kernel import without_clsact
from .network import Address
from .packets import WAYS, attached_hooks
from .peers import NameServers, needs, require_separate
from .toml import config, listener, pool
from .usher import BINARY
from .waiting import eventually

BPF_FILE_SYSTEM = "/sys/fs/bpf"
RESERVED_PORTS = "40000-49999"


@pytest.fixture(scope="module")
def pinning(network):
    """A BPF file system, mounted for as long as these tests last where there is none."""
    require_separate(network)
    needs("bpftool")
    mounted = any(line.split()[1:3] == [BPF_FILE_SYSTEM, "bpf"] for line in open("/proc/mounts", encoding="utf-8"))
    if not mounted:
        done = subprocess.run(["mount", "-t", "bpf", "bpf", BPF_FILE_SYSTEM], capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            pytest.skip(f"no BPF file system can be mounted ({done.stderr.strip()})")
    before = network.balancer.sysctl("net.ipv4.ip_local_reserved_ports")
    network.balancer.sysctl("net.ipv4.ip_local_reserved_ports", RESERVED_PORTS)
    yield
    network.balancer.sysctl("net.ipv4.ip_local_reserved_ports", before)
    if not mounted:
        subprocess.run(["umount", BPF_FILE_SYSTEM], check=True, timeout=20)


class Life:
    """An usher of the kernel datapath, what it pinned, and its end by kill -9."""

    def __init__(self, bench, network, make_usher, names=("a", "b"), way="tcx", **options):
        self.bench, self.network, self.way = bench, network, way
        self.servers = NameServers(bench, list(names))
        self.front = Address(network.balancer.ip4, next(iter(self.servers.addresses.values())).port)
        self.usher = make_usher(self.config(**options), environment=WAYS[way])
        self.folder = pathlib.Path(re.search(r"/sys/fs/bpf/usher-\w+", self.cleanup()).group())
        self.usher.start()
        self.served_by("kernel")

    def config(self, pairs=None, datapath="kernel", drain_timeout="5s", **pool_keys):
        return config(listener(self.front.text, datapath=datapath), pool(pairs or self.servers.pairs, **{"algorithm": "two_choices", **pool_keys}),
                      drain_timeout=drain_timeout)

    def served_by(self, datapath):
        def check():
            row = self.usher.get("/api/v1/listeners")["listeners"][0]
            assert row["datapath"] == datapath, row
            return True
        eventually(check, 5)

    def connect(self):
        """A connection, and who answers it."""
        connected = self.network.client.connect(self.front)
        return connected, receive_line(connected)

    def through_kernel(self):
        return self.usher.active() == 0

    def kill(self):
        self.usher.process.kill()
        self.usher.admin_path.unlink()  # the next one's answers are not to be taken for this one's refusals

    def start_again(self, binary=None, datapath="kernel"):
        """The next daemon of the same file."""
        if binary:
            self.usher.binary = binary
        self.usher.launch()
        self.usher.process.wait_until(self.serving, 15, "serving")
        self.served_by(datapath)
        self.usher.descriptors_at_start = min(self.usher.own_descriptors() for _ in range(5))

    def serving(self):
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            return self.usher.get("/api/v1/status")["phase"] == "serving"

    def cleanup(self, status=0):
        done = self.bench.run([BINARY, "run", "--cleanup", "-c", self.usher.config_path], place=self.network.balancer, status=status)
        return done.stdout + done.stderr

    def events(self):
        return [event["message"] for event in self.usher.get("/api/v1/events")["events"]]

    def said(self, words):
        return [message for message in self.events() if words in message]

    def links(self):
        """{number of the link, or where the filter is: number of its program}, of what is pinned."""
        found = {}
        for path in self.folder.glob("filter_*"):
            found[path.name] = json.loads(self.bench.run(["bpftool", "-j", "prog", "show", "pinned", path]).stdout)["id"]
        for path in self.folder.glob("link_*"):
            # Its status says whether it could list who holds the link, too.
            one = json.loads(self.bench.run(["bpftool", "-j", "link", "show", "pinned", path], place=self.network.balancer, status=None).stdout)
            found[one["id"]] = one["prog_id"]
        return found

    def tag(self, program):
        return json.loads(self.bench.run(["bpftool", "-j", "prog", "show", "id", program]).stdout)["tag"]

    def nothing_left(self):
        assert not self.folder.exists(), sorted(self.folder.iterdir())
        assert not self.hooks()
        return True

    def hooks(self):
        return attached_hooks(self.bench, self.network.balancer)


BOTH_WAYS = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def live(request, bench, network, make_usher, pinning):
    made = []

    def make(**options):
        made.append(Life(bench, network, make_usher, **options))
        return made[-1]

    yield make
    failed = not request.node.report_call.passed
    for one in made:
        if failed:
            one.usher.process.kill()
        if not one.usher.process.running():
            one.usher.ended = True
            one.cleanup()
        if one.way == "clsact":
            without_clsact(network.balancer)
