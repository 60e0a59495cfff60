"""TCP packets without sockets, from the client's namespace: as many as a test wants, from addresses that it makes up (packet(7))."""
import json
import socket
import struct
import subprocess

ETH_P_IP, ETH_P_8021Q = 0x0800, 0x8100
SYN, ACK = 0x02, 0x10
WINDOW = 65535
COMMAND_SECONDS = 20


def checksum(content):
    """RFC 1071."""
    if len(content) % 2:
        content += b"\0"
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _hardware_address(place, device):
    shown = subprocess.run(place.command(["ip", "-json", "link", "show", device]), capture_output=True, text=True, stdin=subprocess.DEVNULL,
                           timeout=COMMAND_SECONDS, check=True)
    return json.loads(shown.stdout)[0]["address"]


class Sender:
    """Ethernet frames with IPv4 and TCP out of the client's up0, to one front. REQUIRES: separate namespaces."""

    def __init__(self, network, front, source=None):
        self.front, self.source = front, source or network.client.ip4
        self.raw = network.client.new_socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.raw.bind(("up0", 0))
        hardware = lambda place, device: bytes.fromhex(_hardware_address(place, device).replace(":", ""))
        self.ethernet = hardware(network.balancer, "to1") + hardware(network.client, "up0")

    def packet(self, flags, source_port, source=None, sequence=1, acknowledgment=0, tag=None):
        origin = socket.inet_aton(source or self.source)
        target = socket.inet_aton(self.front.ip)
        tcp = struct.pack("!HHIIBBHHH", source_port, self.front.port, sequence, acknowledgment, 5 << 4, flags, WINDOW, 0, 0)
        pseudo = origin + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0, origin, target)
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        vlan = struct.pack("!HH", ETH_P_8021Q, tag) if tag is not None else b""
        return self.ethernet + vlan + struct.pack("!H", ETH_P_IP) + header + tcp

    def syn(self, source_port, source=None, tag=None):
        return self.packet(SYN, source_port, source, tag=tag)

    def ack(self, source_port, source=None):
        return self.packet(ACK, source_port, source, sequence=2, acknowledgment=2)

    def send(self, packet):
        self.raw.send(packet)

    def close(self):
        self.raw.close()
