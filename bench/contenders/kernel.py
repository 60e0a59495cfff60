"""kernel: usher, the kernel datapath in nat mode: eBPF forwards packet by packet, the proxy only stands behind it."""
import importlib.util
import json
import pathlib
import re
import socket
import subprocess

from usher_compare.failure import Spoiled

_spec = importlib.util.spec_from_file_location("usher_compare_usher", pathlib.Path(__file__).with_name("usher.py"))
_usher = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_usher)

# The namespaces give every port to the stack; nat needs some that it won't take by itself. The proxy behind it keeps a few.
RESERVED, RESERVED_PORTS = "net/ipv4/ip_local_reserved_ports", "4096-65535"
SETTINGS = {"listener.datapath": "kernel", "listener.kernel_mode": "nat", "pool.algorithm": "two_choices"}
COMMAND_SECONDS = 10


class Kernel(_usher.Usher):
    name = "kernel"
    title = "usher, kernel datapath, nat"
    datapath = "kernel"
    holds_sockets = False
    in_quick = False

    def __init__(self, binary=None):
        super().__init__("kernel", binary, SETTINGS)
        self.title = Kernel.title
        self.setup = None
        self.reserved_before = None
        self.accepted_before = 0

    def configuration(self, setup):
        return f"# {RESERVED.replace('/', '.')} = {RESERVED_PORTS}\n" + super().configuration(setup)

    def start(self, setup):
        self.setup = setup
        self.reserved_before = setup.network.balancer.get(RESERVED)
        setup.network.balancer.set(RESERVED, RESERVED_PORTS)
        super().start(setup)
        chosen = self.listener()
        if chosen["datapath"] != "kernel":
            raise Spoiled(f"the kernel doesn't serve: {chosen['datapath_reason']}")
        self.accepted_before = chosen["accepted"]

    def stop(self):
        super().stop()
        if self.reserved_before is not None:
            self.setup.network.balancer.set(RESERVED, self.reserved_before)
            self.reserved_before = None

    def must_run(self):
        """It is no result of the kernel's where the proxy had to help out."""
        super().must_run()
        by_proxy = self.listener()["accepted"] - self.accepted_before
        if by_proxy > 0:
            raise Spoiled(f"the proxy served {by_proxy:,} connections; the kernel says of packets: {self.verdicts()}")

    def listener(self):
        """What `usher listeners` says of the one that it has."""
        done = subprocess.run([self.binary, "listeners", "--json", "--socket", self.admin()], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS)
        if done.returncode != 0:
            raise Spoiled(f"usher listeners: {done.stderr.strip()}")
        row, = json.loads(done.stdout)["listeners"]
        return row

    def verdicts(self):
        """How it treated packets, but for those that it forwarded."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(COMMAND_SECONDS)
            admin.connect(self.admin())
            admin.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
        found = re.findall(r'^usher_kernel_verdicts_total\{verdict="(\w+)"\} (\d+)$', text, re.MULTILINE)
        return ", ".join(f"{verdict} {number}" for verdict, number in found if number != "0" and verdict != "forwarded")

    def admin(self):
        return f"{self.setup.directory}/{self.name}.sock"


CONTENDER = Kernel
