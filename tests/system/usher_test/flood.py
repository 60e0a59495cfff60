"""TCP packets without sockets: as many as a test wants, from addresses that it makes up (packet(7))."""
import json
import socket
import struct
import subprocess

ETH_P_IP, ETH_P_8021Q = 0x0800, 0x8100
SYN, ACK = 0x02, 0x10
WINDOW = 65535
COMMAND_SECONDS = 20
# Where a frame made by packet() has them.
SOURCE_AT, DESTINATION_AT, SOURCE_PORT_AT, DESTINATION_PORT_AT = 26, 30, 34, 36


def checksum(content):
    """RFC 1071."""
    if len(content) % 2:
        content += b"\0"
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def hardware_address(place, device):
    shown = subprocess.run(place.command(["ip", "-json", "link", "show", device]), capture_output=True, text=True, stdin=subprocess.DEVNULL,
                           timeout=COMMAND_SECONDS, check=True)
    return json.loads(shown.stdout)[0]["address"]


def frame(to_hardware, from_hardware, source, destination, flags, sequence=1, acknowledgment=0, tag=None):
    """An Ethernet frame with IPv4 and TCP and no payload; source and destination are (ip, port)."""
    origin, target = socket.inet_aton(source[0]), socket.inet_aton(destination[0])
    tcp = struct.pack("!HHIIBBHHH", source[1], destination[1], sequence, acknowledgment, 5 << 4, flags, WINDOW, 0, 0)
    pseudo = origin + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0, origin, target)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    vlan = struct.pack("!HH", ETH_P_8021Q, tag) if tag is not None else b""
    hardware = bytes.fromhex(to_hardware.replace(":", "")) + bytes.fromhex(from_hardware.replace(":", ""))
    return hardware + vlan + struct.pack("!H", ETH_P_IP) + header + tcp


class Wire:
    """Sends frames out of up0 of the client's or the backend's place. REQUIRES: separate namespaces."""

    def __init__(self, network, place):
        self.near = hardware_address(network.balancer, "to1" if place is network.client else "to2")
        self.own = hardware_address(place, "up0")
        self.raw = place.new_socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.raw.bind(("up0", 0))
        self.send = self.raw.send

    def frame(self, source, destination, flags, **fields):
        return frame(self.near, self.own, source, destination, flags, **fields)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.raw.close()
