"""Runs the kernel datapath's program on one packet (BPF_PROG_TEST_RUN, by bpftool), in the balancer's namespace."""
import json
import re
import struct

from .peers import needs

TO_NEXT, SHOT, REDIRECT = 0xFFFFFFFF, 2, 7  # TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT
CONTEXT_BYTES, INGRESS_AT, INTERFACE_AT, GSO_SIZE_AT = 192, 36, 40, 176


class Program:
    """The program that an usher has attached to the balancer's interfaces. REQUIRES: separate namespaces."""

    def __init__(self, bench):
        needs("bpftool")
        self.bench, self.place = bench, bench.net.balancer
        attached = json.loads(bench.run(["bpftool", "-j", "net", "show"], place=self.place).stdout)
        self.links = [one for one in attached[0]["tc"] if one["name"] == "kernel_path"]
        assert self.links, f"kernel_path isn't attached: {attached}"
        self.number = self.links[0]["prog_id"]
        shown = json.loads(bench.run(["bpftool", "-j", "prog", "show", "id", self.number]).stdout)
        self.maps = {}
        for number in shown["map_ids"]:
            one = json.loads(bench.run(["bpftool", "-j", "map", "show", "id", number]).stdout)
            self.maps[one["name"]] = number

    def interface(self, name):
        return next(one["ifindex"] for one in self.links if one["devname"] == name)

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

    def dump(self, name):
        return json.loads(self.bench.run(["bpftool", "-j", "map", "dump", "id", self.maps[name]]).stdout)

    def verdicts(self):
        """{number of PathVerdict: how often}"""
        return {row["formatted"]["key"]: sum(one["value"] for one in row["formatted"]["values"]) for row in self.dump("path_verdicts")}
