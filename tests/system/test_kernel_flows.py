"""The kernel datapath's answers of its own, direct server return's wrapping, and what it makes of a flow's life; packet by packet."""
import socket
import struct

import pytest

from usher_test.packets import ADOPTED_FLOW, BACKEND_MOVE, BACKEND_RESET, OPENED, REDIRECT, RESET_DOWN, TO_NEXT, TOO_BIG
from usher_test.path import CLIENT_PORT, FAMILIES, assert_sums_are_right, layer_of, path, rebuilt  # noqa: F401
from usher_test.waiting import eventually

from scapy.all import ICMP, IP, TCP, Ether, ICMPv6PacketTooBig, IPOption_NOP, IPv6, IPv6ExtHdrDestOpt, PadN, Raw

NARROW = 1300
both_families = pytest.mark.parametrize("family", FAMILIES)


def number_of(it, name="a"):
    return it.program.backends()[it.servers.addresses[name].port]


# Direct server return.
@pytest.mark.parametrize("behind", FAMILIES)
@both_families
def test_dsr_wraps_a_packet_and_leaves_it_as_it_was(path, network, family, behind):
    it = path(family, "dsr", behind=behind)
    backend = it.servers.addresses["a"].ip
    for packet in (it.from_client(), it.from_client("A"), it.from_client("PA", payload=b"q" * 700)):
        verdict, raw = it.program.run(packet)
        assert verdict == REDIRECT
        out = it.read(raw)
        outer = out.payload
        assert type(outer) is (IP if behind == "4" else IPv6) and outer.dst == backend
        assert outer.src == network.balancer.address(FAMILIES[behind]).replace(".1.1", ".2.1").replace(":1::", ":2::")
        assert (outer.proto if behind == "4" else outer.nh) == (4 if family == "4" else 41)
        assert (outer.ttl if behind == "4" else outer.hlim) == 64
        header = 20 if behind == "4" else 40
        inner = bytes(packet)[14:]
        assert raw[14 + header:] == inner and (outer.len - 20 if behind == "4" else outer.plen) == len(inner)
        assert_sums_are_right(raw)


@both_families
def test_dsr_sends_an_error_about_an_answer_to_who_gave_it(path, family):
    """The backend's answers bear the service's address, so what a router says of them comes to the balancer."""
    it = path(family, "dsr")
    assert it.program.run(it.from_client())[0] == REDIRECT
    answer = it.ip(it.front.ip, it.client) / TCP(sport=it.front.port, dport=CLIENT_PORT, flags="A", seq=2001, ack=1001) / Raw(b"z" * 100)
    error = ICMP(type=3, code=4, nexthopmtu=1280) if family == "4" else ICMPv6PacketTooBig(mtu=1290)
    router = "10.77.1.77" if family == "4" else "fd77:0:0:1::77"
    packet = rebuilt(it.ether() / it.ip(router, it.front.ip) / error / Raw(bytes(answer)[:68]))
    verdict, raw = it.program.run(packet)
    assert verdict == REDIRECT and layer_of(it.read(raw)).dst == it.servers.addresses["a"].ip
    assert raw[14 + (20 if family == "4" else 40):] == bytes(packet)[14:]


# What doesn't fit.
@pytest.mark.parametrize("mode", ["nat", "dsr"])
@both_families
def test_what_does_not_fit_is_answered_with_the_size_that_does(path, family, mode):
    it = path(family, mode)
    it.establish() if mode == "nat" else it.open()
    it.narrow("to2", NARROW)
    header = 20 if family == "4" else 40
    fits = NARROW - (header if mode == "dsr" else 0)
    packet = it.from_client("PA", payload=b"z" * 1400)
    verdict, raw = it.program.run(packet)
    assert verdict == REDIRECT and it.program.verdicts()[TOO_BIG] == 1
    out = it.read(raw)
    assert (out[Ether].src, out[Ether].dst) == (packet[Ether].dst, packet[Ether].src)
    assert (layer_of(out).src, layer_of(out).dst) == (it.front.ip, it.client)
    error = out[ICMP] if family == "4" else out[ICMPv6PacketTooBig]
    assert (error.type, error.code) == ((3, 4) if family == "4" else (2, 0))
    assert (error.nexthopmtu if family == "4" else error.mtu) == fits
    assert raw[14 + header + 8:] == bytes(packet)[14:14 + 128]
    assert_sums_are_right(raw)
    # One that just fits goes on.
    room = fits - (len(layer_of(packet)) - 1400)
    verdict, raw = it.program.run(it.from_client("PA", payload=b"z" * room))
    assert verdict == REDIRECT and len(raw) == 14 + NARROW and it.program.verdicts()[TOO_BIG] == 1


# A backend that is down.
@both_families
def test_a_flow_to_a_backend_that_is_down_is_reset(path, family):
    it = path(family)
    it.establish()
    it.program.set_fate(number_of(it), BACKEND_RESET)
    packet = it.from_client("PA", payload=b"hello")
    verdict, raw = it.program.run(packet)
    out = it.read(raw)
    assert verdict == REDIRECT and it.program.verdicts()[RESET_DOWN] == 1
    assert (out[Ether].src, out[Ether].dst) == (packet[Ether].dst, packet[Ether].src)
    assert (layer_of(out).src, layer_of(out).dst) == (it.front.ip, it.client)
    assert (out[TCP].sport, out[TCP].dport) == (it.front.port, CLIENT_PORT)
    # RFC 9293, 3.5.2: what has an acknowledgment is answered by a reset with that for its sequence number, and none of its own.
    assert (str(out[TCP].flags), out[TCP].seq, out[TCP].ack, out[TCP].options) == ("R", 2001, 0, [])
    assert len(raw) == 14 + (20 if family == "4" else 40) + 20
    assert_sums_are_right(raw)
    # With that, the flow is gone.
    assert it.program.entries("path_flows") == it.program.entries("path_half_open") == 0 and it.program.active(number_of(it)) == 0


@both_families
def test_a_reset_is_made_of_a_packet_with_options_too(path, family):
    it = path(family)
    it.establish()
    it.program.set_fate(number_of(it), BACKEND_RESET)
    if family == "4":
        packet = it.from_client("PA", payload=b"hello")
        packet[IP].options = [IPOption_NOP()] * 8
        del packet[IP].ihl, packet[IP].len, packet[IP].chksum
        packet = rebuilt(packet)
    else:
        packet = it.from_client("PA", payload=b"hello", between=IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]))
    verdict, raw = it.program.run(packet)
    assert verdict == REDIRECT and len(raw) == 14 + (20 if family == "4" else 40) + 20
    assert str(it.read(raw)[TCP].flags) == "R" and it.read(raw)[TCP].seq == 2001
    assert_sums_are_right(raw)


def test_a_reset_of_a_client_is_not_answered(path):
    it = path("4")
    it.establish()
    it.program.set_fate(number_of(it), BACKEND_RESET)
    verdict, raw = it.program.run(it.from_client("R"))
    assert verdict == REDIRECT and layer_of(it.read(raw)).dst == it.backend.ip


def test_a_first_packet_sent_again_meets_another_backend_where_its_own_went_down(path):
    it = path("4", names=("a", "b"))
    opened = it.open()
    ports = {address.port: name for name, address in it.servers.addresses.items()}
    went = opened[TCP].dport
    it.program.set_fate(it.program.backends()[went], BACKEND_RESET)
    verdict, raw = it.program.run(it.from_client())
    assert verdict == REDIRECT and it.read(raw)[TCP].dport in ports and it.program.verdicts()[RESET_DOWN] == 0
    assert it.program.verdicts()[OPENED] == 2


@both_families
def test_a_flow_is_moved_where_the_pool_wants_that(path, family):
    it = path(family)
    opened = it.establish()
    it.program.set_fate(number_of(it), BACKEND_MOVE)
    verdict, raw = it.program.run(it.from_client("PA", payload=b"on"))
    # It meets whom the table names now: here the same one, as the test leaves the table alone.
    assert verdict == REDIRECT and layer_of(it.read(raw)).dst == it.backend.ip
    assert it.program.verdicts()[ADOPTED_FLOW] == 1 and it.program.active(number_of(it)) == 0
    assert it.program.entries("path_flows") == 0 and it.program.entries("path_half_open") == 2
    assert_sums_are_right(raw)
    assert opened is not None


# Who is it for.
def test_what_another_host_is_sent_goes_on_untouched(path):
    it = path("4")
    for mac in ("02:00:00:00:00:99", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"):
        packet = it.from_client()
        packet[Ether].dst = mac
        assert it.program.run(packet) == (TO_NEXT, bytes(packet))
    assert it.program.verdicts()[OPENED] == 0


# A flow's life.
@both_families
def test_packets_are_counted_for_their_backend(path, family):
    it = path(family)
    opened = it.open()
    number = number_of(it)
    it.program.run(it.from_client())
    assert it.program.counts(number)["syn_retransmits"] == 1 and it.program.counts(number)["tried"] == 1
    it.program.run(it.answer(opened), "to2")
    it.program.run(it.answer(opened), "to2")
    it.program.run(it.from_client("A"))
    assert it.program.active(number) == 1
    for _ in range(3):
        it.program.run(it.from_client("PA", payload=b"request"))
    for _ in range(2):
        it.program.run(it.answer(opened, "PA", b"answer", seq=2001), "to2")
    it.program.run(it.answer(opened, "PA", b"more", seq=2007), "to2")
    counts = it.program.counts(number)
    assert (counts["established"], counts["refused"], counts["resets"]) == (1, 0, 0)
    assert counts["retransmits"] == 3, "two of the client's, one of the backend's"
    assert (counts["packets_in"], counts["packets_out"]) == (6, 5)
    assert counts["bytes_in"] == sum(len(layer_of(it.from_client(*flags))) for flags in (["S"], ["S"], ["A"])) + \
        3 * len(layer_of(it.from_client("PA", payload=b"request")))
    assert sum(counts["rtt"]) == 1, "one answer to a first packet, however often it came"
    it.program.run(it.from_client("R"))
    assert it.program.counts(number)["resets"] == 1 and it.program.active(number) == 0


def test_the_first_bytes_of_a_flow_count_when_they_come_again(path):
    """They may come with the packet that makes the handshake whole."""
    it = path("4")
    opened = it.open()
    it.program.run(it.answer(opened), "to2")
    for _ in range(2):
        it.program.run(it.from_client("PA", payload=b"request"))
    assert it.program.counts(number_of(it))["retransmits"] == 1


def test_a_refused_connection_is_counted(path):
    it = path("4")
    opened = it.open()
    assert it.program.run(it.answer(opened, "RA"), "to2")[0] == REDIRECT
    counts = it.program.counts(number_of(it))
    assert (counts["refused"], counts["established"], sum(counts["rtt"])) == (1, 0, 0)


def test_a_reset_for_a_flow_that_began_elsewhere_is_no_refusal(path):
    it = path("4")
    _, raw = it.program.run(it.from_client("PA", payload=b"hello"))
    it.program.run(it.answer(it.read(raw), "R"), "to2")
    counts = it.program.counts(number_of(it))
    assert (counts["tried"], counts["refused"]) == (0, 0)


@both_families
def test_a_handshake_acknowledged_with_the_wrong_number_stays_half_open(path, family):
    it = path(family)
    it.program.run(it.answer(it.open()), "to2")
    wrong = it.from_client("A")
    wrong[TCP].ack = 4711
    del wrong[TCP].chksum
    for _ in range(3):
        it.program.run(rebuilt(wrong))
    assert it.program.entries("path_flows") == 0 and it.program.entries("path_half_open") == 2
    assert it.program.counts(number_of(it))["established"] == 0
    it.program.run(it.from_client("A"))
    assert it.program.entries("path_flows") == 2 and it.program.entries("path_half_open") == 0


def test_a_first_packet_with_the_addresses_of_a_flow_that_is_over_begins_a_new_one(path):
    it = path("4")
    opened = it.establish()
    number = number_of(it)
    it.program.run(it.from_client("FA"))
    it.program.run(it.answer(opened, "FA", seq=2001), "to2")
    assert it.program.active(number) == 0 and it.program.entries("path_flows") == 2
    again = it.open()
    assert again[TCP].seq == 1000 and it.program.verdicts()[OPENED] == 2
    assert it.program.entries("path_flows") == 0 and it.program.entries("path_half_open") == 2


@both_families
@pytest.mark.parametrize("end", ["closed", "reset"])
def test_a_source_port_rests_for_a_second_and_serves_again(path, family, end):
    it = path(family, ports=4)
    flows = [(port, it.establish(port)) for port in range(50010, 50014)]
    assert {opened[TCP].sport for _, opened in flows} == it.ports
    late = it.from_client(port=50100)
    assert it.program.run(late)[0] == TO_NEXT, "every port is taken: the proxy serves it"
    port, over = flows[2]
    it.program.run(it.from_client("FA" if end == "closed" else "R", port))
    if end == "closed":
        assert it.program.run(late)[0] == TO_NEXT, "the backend has more to say"
        it.program.run(it.answer(over, "FA", seq=2001), "to2")
    assert it.program.run(late)[0] == TO_NEXT, "it is only just over"

    def taken():
        verdict, raw = it.program.run(late)
        return verdict == REDIRECT and it.read(raw)

    assert eventually(taken, what="the port is free again")[TCP].sport == over[TCP].sport
    left = it.program.entries("path_flows"), it.program.entries("path_half_open")
    assert left == (6, 2), "the three that are open, and the new one; nothing of the old"


@both_families
def test_a_direction_that_the_table_dropped_alone_is_made_anew(path, family):
    it = path(family)
    opened = it.establish()
    client_key, backend_key = keys_of(it, opened)
    # Its own side, by a packet of the client: the same source port as before, or the backend wouldn't know the connection.
    it.program.remove("path_flows", client_key)
    _, raw = it.program.run(it.from_client("PA", payload=b"on"))
    assert it.read(raw)[TCP].sport == opened[TCP].sport and it.program.entries("path_flows") == 2
    # The other side, by any packet of the client after a while.
    it.program.remove("path_flows", backend_key)
    def revived():
        it.program.run(it.from_client("A"))
        return it.program.entries("path_flows") == 2
    eventually(revived, 5, "both entries")
    verdict, raw = it.program.run(it.answer(opened, "PA", b"answer", seq=2001), "to2")
    assert verdict == REDIRECT and (layer_of(it.read(raw)).dst, it.read(raw)[TCP].dport) == (it.client, CLIENT_PORT)


def keys_of(it, opened):
    """The keys of a flow's two entries."""
    address = lambda ip: socket.inet_pton(socket.AF_INET6, ip if ":" in ip else f"::ffff:{ip}")
    key = lambda source, destination, sport, dport: address(source) + address(destination) + struct.pack("!HH", sport, dport)
    out = layer_of(opened)
    return (key(it.client, it.front.ip, CLIENT_PORT, it.front.port), key(out.dst, out.src, opened[TCP].dport, opened[TCP].sport))


def test_two_choices_prefers_the_less_loaded(path):
    it = path("4", algorithm="two_choices", names=("a", "b"))
    numbers = it.program.backends()
    loaded, idle = (it.servers.addresses[name].port for name in ("a", "b"))
    went = {loaded: 0, idle: 0}
    for number in range(40):
        it.program.set_active(numbers[loaded], 1000)
        went[it.open(port=20000 + number)[TCP].dport] += 1
    # Both draws meet the loaded one a quarter of the time: 10 of 40; that 22 of them do has a chance of one in 30,000.
    assert went[idle] > 18, went


def test_the_sweep_ends_what_is_over(path):
    it = path("4")
    opened = it.open()
    it.program.run(it.answer(opened), "to2")
    it.program.set_timeouts(half_open=1, closing=3600)
    eventually(lambda: it.program.entries("path_half_open") == 0, 10, "the half-open flow's end")
    opened = it.establish()
    it.program.run(it.from_client("FA"))
    it.program.run(it.answer(opened, "FA", seq=2001), "to2")
    other = it.establish(CLIENT_PORT + 1)
    it.program.set_timeouts(half_open=1, closing=1)
    eventually(lambda: it.program.entries("path_flows") == 2, 10, "the end of the one that was closed")
    assert it.program.active(number_of(it)) == 1
    assert it.program.run(it.answer(other, "A"), "to2")[0] == REDIRECT
