"""What the kernel datapath does with packets as stacks really send them: checksums left to a device that isn't there, segments to be cut."""
import socket
import struct

import pytest

from usher_test.clients import receive_line
from usher_test.packets import BACKEND_RESET, RESET_DOWN, TOO_BIG
from usher_test.path import FAMILIES, assert_sums_are_right, path  # noqa: F401

from scapy.all import ICMP, TCP, Ether, ICMPv6PacketTooBig

NARROW = 1300
ALL_PROTOCOLS, PACKET_AUXDATA, SOL_PACKET, SUM_IS_LACKING = 0x0003, 8, 263, 8  # if_packet.h: TP_STATUS_CSUMNOTREADY
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, OF_THE_INTERFACE = 10, 23, 4  # in.h, in6.h: what a router says of a path's MTU is ignored
RECEIVED_SEGMENT_AT = 20  # tcpi_rcv_mss
both_families = pytest.mark.parametrize("family", FAMILIES)


class Capture:
    """Frames that come in at the client, and whether their checksum is still to be filled in."""

    def __init__(self, network):
        with network.client.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.bind(("up0", ALL_PROTOCOLS))
        self.socket.settimeout(10)

    def until(self, wanted):
        """The first frame that `wanted` likes, as bytes."""
        for _ in range(1000):
            raw, about, _, sender = self.socket.recvmsg(65536, 256)
            if sender[2] != socket.PACKET_OUTGOING and wanted(Ether(raw)):
                status = struct.unpack_from("=I", about[0][2])[0]
                return raw, bool(status & SUM_IS_LACKING)
        raise AssertionError("it isn't among a thousand frames")

    def close(self):
        self.socket.close()


@pytest.fixture
def capture(network, path):  # noqa: F811
    if not network.separate:
        pytest.skip(network.why_loopback)
    one = Capture(network)
    yield one
    one.close()


@both_families
def test_a_reset_of_a_real_clients_flow_has_a_whole_checksum(path, network, capture, family):
    it = path(family)
    with network.client.connect(it.front) as client:
        assert receive_line(client) == "a"
        # What passes between namespaces comes without its sum, and the answer is made of such a packet.
        assert capture.until(lambda frame: TCP in frame and "S" in str(frame[TCP].flags))[1]
        it.program.set_fate(it.program.backends()[it.backend.port], BACKEND_RESET)
        client.sendall(b"still there?")
        raw, lacking = capture.until(lambda frame: TCP in frame and "R" in str(frame[TCP].flags))
        assert not lacking
        assert_sums_are_right(raw)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert it.program.verdicts()[RESET_DOWN] == 1


class Receiver:
    """Takes the backend's address from the servers, and reads what one client sends."""

    def __init__(self, it, network):
        it.servers.kill()
        self.listening = network.backend.listen(it.backend.family, it.backend.port)
        self.client = network.client.new_socket(it.backend.family)
        self.client.settimeout(10)

    def __enter__(self):
        return self

    def connect(self, it):
        self.client.connect(tuple(it.front))
        self.accepted, _ = self.listening.accept()
        self.accepted.settimeout(10)

    def receive(self, wanted):
        content = b""
        while len(content) < wanted:
            piece = self.accepted.recv(65536)
            assert piece, f"the end after {len(content)} bytes"
            content += piece
        return content

    def largest_segment(self):
        told = self.accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return struct.unpack_from("=I", told, RECEIVED_SEGMENT_AT)[0]

    def __exit__(self, *_):
        for one in (self.client, self.accepted, self.listening):
            one.close()


@both_families
def test_a_real_client_learns_what_fits(path, network, capture, family):
    it = path(family)
    it.narrow("to2", NARROW)
    content = bytes(range(250)) * 5 + b"x" * 100  # one segment, too long
    with Receiver(it, network) as pair:
        pair.connect(it)
        pair.client.sendall(content)
        is_error = lambda frame: ICMP in frame or ICMPv6PacketTooBig in frame
        raw, lacking = capture.until(is_error)
        assert not lacking and it.program.verdicts()[TOO_BIG] == 1
        assert_sums_are_right(raw)
        assert pair.receive(len(content)) == content
        for _ in range(20):
            pair.client.sendall(b"m" * 30_000)
            assert pair.receive(30_000) == b"m" * 30_000
    assert it.program.verdicts()[TOO_BIG] == 1, "one telling is enough"


@both_families
def test_segments_are_cut_smaller_for_a_client_that_does_not_listen(path, network, family):
    """A firewall that drops ICMP, or this socket option: what the client's stack leaves to be cut (GSO) fits all the same."""
    it = path(family)
    it.narrow("to2", NARROW)
    headers = (20 if family == "4" else 40) + 32
    segment = 1500 - headers
    with Receiver(it, network) as pair:
        level, option = (socket.IPPROTO_IP, IP_MTU_DISCOVER) if family == "4" else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
        pair.client.setsockopt(level, option, OF_THE_INTERFACE)
        pair.connect(it)
        content = bytes(range(256)) * 64
        content = content[:8 * segment]  # whole segments: no single one is left over, which can't be cut
        pair.client.sendall(content)
        assert pair.receive(len(content)) == content
        assert pair.largest_segment() <= NARROW - headers
    assert it.program.verdicts()[TOO_BIG] == 0
