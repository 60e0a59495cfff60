"""The PROXY protocol: HAProxy and nginx on either side of usher, and headers that are bad, partial or from the wrong sender."""
import itertools
import re
import socket
import struct

import pytest

from usher_test import peers
from usher_test.clients import ending, receive_all, receive_exactly, receive_line
from usher_test.network import address_of, fresh_address
from usher_test.toml import config, listener, pool
from usher_test.waiting import eventually

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
# A port of the client's own for each test: the one before it is in TIME-WAIT.
LOCAL_PORTS = itertools.count(30011)
VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
GET = ["curl", "-sS", "--fail", "--max-time", "10"]


def v2(command, kind, body):
    return SIGNATURE + bytes([0x20 | command, kind]) + struct.pack(">H", len(body)) + body


def v2_ipv4(source, destination, ports, tlvs=b""):
    return v2(1, 0x11, socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack(">HH", *ports) + tlvs)


def nginx_that_tells(bench, family):
    """nginx that demands a PROXY header and answers with the client that it names."""
    address = fresh_address(bench.net.backend, family)
    peers.Nginx(bench, address, http=f'server {{ listen {address.text} proxy_protocol; location / '
                                     '{ return 200 "$proxy_protocol_addr $proxy_protocol_port\\n"; } }')
    return address


def haproxy_that_tells(bench, family):
    address = fresh_address(bench.net.backend, family)
    peers.HAProxy(bench, address, f"frontend web\n  bind {address.text} accept-proxy\n"
                                  '  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port]\\n"\n', mode="http")
    return address


@pytest.mark.sanitized
@FAMILIES
@VERSIONS
@pytest.mark.parametrize("teller", [nginx_that_tells, haproxy_that_tells], ids=["nginx", "haproxy"])
def test_backends_accept_what_usher_sends(bench, network, start_usher, teller, version, family):
    backend = teller(bench, family)
    front = fresh_address(network.balancer, family)
    usher = start_usher(config(listener(front.text), pool([backend.text], send_proxy_protocol=version)))
    port = next(LOCAL_PORTS) if network.separate else 0
    said = bench.run([*GET, *(["--local-port", port] if port else []), f"http://{front.text}/"], place=network.client).stdout.split()
    assert said[0] == network.client.address(family)
    assert not port or said[1] == str(port)
    usher.expect_only(served=1)


@VERSIONS
def test_a_client_of_one_family_and_a_backend_of_the_other(bench, network, start_usher, version):
    for inside, outside in ((socket.AF_INET, socket.AF_INET6), (socket.AF_INET6, socket.AF_INET)):
        backend = nginx_that_tells(bench, outside)
        front = fresh_address(network.balancer, inside)
        start_usher(config(listener(front.text), pool([backend.text], send_proxy_protocol=version)))
        said = bench.run([*GET, f"http://{front.text}/"], place=network.client).stdout.split()
        assert said[0].removeprefix("::ffff:") == network.client.address(inside)


def in_front(bench, kind, version, front, behind):
    """A proxy beside usher that sends a PROXY header of that version to `behind`."""
    if kind == "haproxy":
        option = "send-proxy" if version == "v1" else "send-proxy-v2"
        return peers.HAProxy(bench, front, f"listen front\n  bind {front.text}\n  server usher {behind.text} {option}\n", place=bench.net.balancer)
    return peers.Nginx(bench, front, stream=f"server {{ listen {front.text}; proxy_pass {behind.text}; proxy_protocol on; }}", place=bench.net.balancer)


@pytest.mark.sanitized
@FAMILIES
@pytest.mark.parametrize("kind, version", [("haproxy", "v1"), ("haproxy", "v2"), ("nginx", "v1")])
def test_usher_accepts_what_proxies_in_front_of_it_send(bench, network, start_usher, kind, version, family):
    backend = nginx_that_tells(bench, family)
    behind, front = fresh_address(network.balancer, family), fresh_address(network.balancer, family)
    usher = start_usher(config(listener(behind.text, accept_proxy_protocol="required", trusted_proxies=[network.balancer.address(family)]),
                               pool([backend.text], send_proxy_protocol="v2")))
    in_front(bench, kind, version, front, behind)
    port = next(LOCAL_PORTS) if network.separate else 0
    said = bench.run([*GET, *(["--local-port", port] if port else []), f"http://{front.text}/"], place=network.client).stdout.split()
    assert said[0] == network.client.address(family), "the backend sees the true client through two proxies"
    assert not port or said[1] == str(port)
    eventually(lambda: usher.outcomes().get("served", 0) >= 1, 5)


@pytest.fixture
def required(network, start_usher, front):
    """(usher, a listener of the test's own behind it) for a listener that demands the header; sends one on as v1 to look at."""
    def make(**listener_keys):
        backend = network.backend.listen()
        made.append(backend)
        return start_usher(config(listener(front.text, accept_proxy_protocol="required", **listener_keys),
                                  pool([address_of(backend).text], send_proxy_protocol="v1"))), backend
    made = []
    yield make
    for backend in made:
        backend.close()


GOOD = {
    "v1 ipv4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", "192.0.2.7 198.51.100.1 4711 443"),
    "v1 ipv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "2001:db8::7 2001:db8::1 4711 443"),
    "v1 unknown": (b"PROXY UNKNOWN whatever else\r\n", None),
    "v2 ipv4": (v2_ipv4("192.0.2.7", "198.51.100.1", (4711, 443)), "192.0.2.7 198.51.100.1 4711 443"),
    "v2 with TLVs": (v2_ipv4("192.0.2.7", "198.51.100.1", (4711, 443), b"\x04\x00\x03abc" + b"\x03\x00\x04\0\0\0\0"), "192.0.2.7 198.51.100.1 4711 443"),
    "v2 with long TLVs": (v2_ipv4("192.0.2.7", "198.51.100.1", (4711, 443), b"\x04" + struct.pack(">H", 3000) + bytes(3000)),
                          "192.0.2.7 198.51.100.1 4711 443"),
    "v2 local": (v2(0, 0, b""), None),
    "v2 local with an address": (v2(0, 0x11, bytes(12)), None),
}


@pytest.mark.sanitized
@pytest.mark.parametrize("what", list(GOOD))
def test_a_good_header_is_taken_off_and_the_rest_goes_on(network, required, front, what):
    header, named = GOOD[what]
    usher, backend = required()
    with network.client.connect(front) as client:
        client.sendall(header + b"payload")
        client.shutdown(socket.SHUT_WR)
        accepted, _ = backend.accept()
        said = receive_line(accepted)
        if named:
            assert said.split(" ", 2)[2] == named
        else:
            assert network.client.ip4 in said
        assert receive_all(accepted) == b"payload"
        accepted.close()
        assert receive_all(client) == b""
    usher.expect_only(served=1)


@pytest.mark.parametrize("what", ["v1 ipv4", "v2 with TLVs"])
def test_a_header_that_comes_byte_by_byte_is_waited_for(network, required, front, what):
    header, named = GOOD[what]
    usher, backend = required()
    with network.client.connect(front) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header + b"payload":
            client.sendall(bytes([byte]))
        client.shutdown(socket.SHUT_WR)
        accepted, _ = backend.accept()
        assert receive_line(accepted).split(" ", 2)[2] == named
        assert receive_all(accepted) == b"payload"
        accepted.close()
    usher.expect_outcome("served")


BAD = {
    "no header": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "v1 of another family": b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
    "v1 without ports": b"PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
    "v1 with a port too large": b"PROXY TCP4 1.2.3.4 1.2.3.4 70000 1\r\n",
    "v1 with a broken address": b"PROXY TCP4 1.2.3.400 1.2.3.4 1 1\r\n",
    "v1 without an end": b"PROXY TCP4 " + b"1" * 200,
    "v2 of version 3": SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
    "v2 too short for its family": v2(1, 0x11, bytes(4)),
    "v2 of an unknown command": v2(5, 0x11, bytes(12)),
}


@pytest.mark.sanitized
@pytest.mark.parametrize("what", list(BAD))
def test_a_bad_header_ends_the_connection_by_name(network, required, front, what):
    usher, _ = required()
    with network.client.connect(front) as client:
        client.sendall(BAD[what])
        assert ending(client) in ("fin", "reset")
    usher.expect_only(bad_proxy_header=1)


@pytest.mark.sanitized
def test_a_partial_header_is_waited_for_under_a_timeout(network, required, front):
    usher, _ = required()
    with network.client.connect(front, seconds=30) as client:
        client.sendall(b"PROXY TCP4 192.0.")
        assert ending(client) in ("fin", "reset")
    usher.expect_only(bad_proxy_header=1)


@pytest.mark.sanitized
def test_a_client_that_leaves_in_the_middle_of_a_header_is_gone_at_once(network, required, front):
    usher, _ = required()
    with network.client.connect(front) as client:
        client.sendall(b"PROXY TCP4 192.0.")
    eventually(lambda: usher.outcomes(), 3)  # well before the timeout that a partial header has
    usher.expect_only(client_gone=1)


def test_a_sender_that_is_not_trusted_is_denied(network, required, front):
    usher, _ = required(trusted_proxies=["192.0.2.0/24"])
    with network.client.connect(front) as client:
        try:
            client.sendall(GOOD["v1 ipv4"][0])
        except ConnectionError:
            pass
        assert ending(client) in ("fin", "reset")
    usher.expect_only(denied=1)


def test_a_hash_follows_the_client_that_the_header_names(bench, network, start_usher, front):
    servers = peers.NameServers(bench, list("abcdefgh"))
    start_usher(config(listener(front.text, accept_proxy_protocol="required"), pool(servers.pairs, algorithm="maglev")))
    chosen = {}
    for number in list(range(24)) * 2:
        with network.client.connect(front) as client:
            client.sendall(b"PROXY TCP4 192.0.2.%d 198.51.100.1 4711 443\r\n" % number)
            chosen.setdefault(number, set()).add(receive_line(client))
    assert all(len(names) == 1 for names in chosen.values())
    assert len(set.union(*chosen.values())) >= 4


@VERSIONS
def test_the_header_comes_first_where_the_server_speaks_first(network, start_usher, front, version):
    backend = network.backend.listen()
    start_usher(config(listener(front.text), pool([address_of(backend).text], send_proxy_protocol=version)))
    with network.client.connect(front) as client:
        accepted, _ = backend.accept()
        accepted.settimeout(10)
        accepted.sendall(b"220 hello\r\n")
        assert receive_line(client) == "220 hello"
        if version == "v1":
            assert re.match(r"^PROXY TCP4 \S+ \S+ \d+ \d+$", receive_line(accepted))
        else:
            header = receive_exactly(accepted, 28)
            assert header.startswith(SIGNATURE + b"\x21\x11\x00\x0c")
            assert socket.inet_ntoa(header[16:20]) == network.client.ip4
            assert struct.unpack(">H", header[24:26])[0] == client.getsockname()[1]
        accepted.close()
    backend.close()
