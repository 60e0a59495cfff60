"""Runs the kernel datapath's program on one packet (BPF_PROG_TEST_RUN, by bpftool), in the balancer's namespace."""
import collections
import json
import re
import struct

from .peers import needs

TO_NEXT, SHOT, REDIRECT = 0xFFFFFFFF, 2, 7  # TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT
# PathVerdict (include/usher/steer/path_abi.h)
(FORWARDED, OPENED, ADOPTED_FLOW, NO_BACKEND, NO_PORT, TABLE_FULL, LOCAL_SOCKET, UNKNOWN, RESET_DOWN, TOO_BIG, ERROR_TRANSLATED, FRAGMENT,
 FRAGMENT_LOST, HOPS, MALFORMED) = range(15)
BACKEND_RESET, BACKEND_MOVE = 1, 2  # PathBackendFlags
BACKEND_FLAGS_AT = 40
CONTEXT_BYTES, INGRESS_AT, INTERFACE_AT, GSO_SIZE_AT = 192, 36, 40, 176


Hook = collections.namedtuple("Hook", "device index program")
# The variable's other value stands for what usher does by itself (CONTRIBUTING.md).
WAYS = {"tcx": {}, "clsact": {"USHER_TC_ATTACH": "clsact"}}


def attached_hooks(bench, place):
    """Each kernel_path on packets that come in, by a tcx link or a clsact filter."""
    shown = json.loads(bench.run(["bpftool", "-j", "net", "show"], place=place).stdout)[0]["tc"]
    return [Hook(one["devname"], one["ifindex"], one.get("prog_id", one.get("id"))) for one in shown if one["name"].split(":")[0] == "kernel_path"]


class Program:
    """The program that an usher has attached to the balancer's interfaces. REQUIRES: separate namespaces."""

    def __init__(self, bench):
        needs("bpftool")
        self.bench, self.place = bench, bench.net.balancer
        self.hooks = attached_hooks(bench, self.place)
        assert self.hooks, "kernel_path isn't attached"
        self.number = self.hooks[0].program
        shown = json.loads(bench.run(["bpftool", "-j", "prog", "show", "id", self.number]).stdout)
        self.maps, self.macs = {}, {}
        for number in shown["map_ids"]:
            one = json.loads(bench.run(["bpftool", "-j", "map", "show", "id", number]).stdout)
            self.maps[one["name"]] = number

    def interface(self, name):
        return next(one.index for one in self.hooks if one.device == name)

    def mac(self, name):
        """What packets that come in there must be sent to."""
        if name not in self.macs:
            shown = self.bench.run(["ip", "-j", "link", "show", "dev", name], place=self.place).stdout
            self.macs[name] = json.loads(shown)[0]["address"]
        return self.macs[name]

    def run(self, packet, interface="to1", gso_size=0):
        """(verdict, the packet afterwards)"""
        index = self.interface(interface)
        context = bytearray(CONTEXT_BYTES)
        struct.pack_into("=I", context, INGRESS_AT, index)
        struct.pack_into("=I", context, INTERFACE_AT, index)
        struct.pack_into("=I", context, GSO_SIZE_AT, gso_size)
        given, taken, about = (self.bench.path(f"packet.{kind}") for kind in ("in", "out", "context"))
        for path, content in ((given, bytes(packet)), (about, bytes(context))):
            with open(path, "wb") as file:
                file.write(content)
        said = self.bench.run(["bpftool", "prog", "run", "id", self.number, "data_in", given, "data_out", taken, "ctx_in", about],
                              place=self.place).stdout
        verdict = int(re.search(r"Return value: (\d+)", said).group(1))
        with open(taken, "rb") as file:
            return verdict, file.read()

    def lookup(self, name, key):
        """A map's value under a number, as bytes; of a map that has one a processor, all of them."""
        words = [f"{byte:#x}" for byte in struct.pack("=I", key)]
        row = json.loads(self.bench.run(["bpftool", "-j", "map", "lookup", "id", self.maps[name], "key", *words]).stdout)
        if "values" in row:
            return [bytes(int(byte, 16) for byte in one["value"]) for one in row["values"]]
        return bytes(int(byte, 16) for byte in row["value"])

    def update(self, name, key, value):
        self.bench.run(["bpftool", "map", "update", "id", self.maps[name], "key", *(f"{byte:#x}" for byte in struct.pack("=I", key)), "value",
                        *(f"{byte:#x}" for byte in value)])

    def backends(self):
        """{port: number} of path_backends."""
        found = {}
        for number in range(16):
            value = self.lookup("path_backends", number)
            port = struct.unpack_from("!H", value, 32)[0]
            if port:
                found[port] = number
        return found

    def set_fate(self, number, flags):
        """What a flow to a backend that is down gets."""
        value = bytearray(self.lookup("path_backends", number))
        struct.pack_into("=I", value, BACKEND_FLAGS_AT, flags)
        self.update("path_backends", number, value)

    def counts(self, number):
        """PathCounts of a backend, summed over the processors."""
        names = ("tried", "established", "refused", "syn_retransmits", "retransmits", "resets", "packets_in", "bytes_in", "packets_out",
                 "bytes_out")
        words = [struct.unpack("=42Q", one) for one in self.lookup("path_counts", number)]
        sums = [sum(column) for column in zip(*words)]
        return {**dict(zip(names, sums)), "rtt": sums[len(names):]}

    def active(self, number):
        return struct.unpack("=q", self.lookup("path_active", number))[0]

    def set_active(self, number, flows):
        self.update("path_active", number, struct.pack("=q", flows))

    def set_timeouts(self, half_open, closing):
        """In seconds; see PathSettings."""
        value = bytearray(self.lookup("path_settings", 0))
        struct.pack_into("=II", value, 4, half_open, closing)
        self.update("path_settings", 0, value)

    def remove(self, name, key):
        self.bench.run(["bpftool", "map", "delete", "id", self.maps[name], "key", *(f"{byte:#x}" for byte in key)])

    def entries(self, name):
        """How many a table has."""
        return len(self.dump(name))

    def dump(self, name):
        return json.loads(self.bench.run(["bpftool", "-j", "map", "dump", "id", self.maps[name]]).stdout)

    def verdicts(self):
        """{number of PathVerdict: how often}"""
        return {row["formatted"]["key"]: sum(one["value"] for one in row["formatted"]["values"]) for row in self.dump("path_verdicts")}
