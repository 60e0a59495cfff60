"""The kernel datapath packet by packet: what goes in, the verdict, what comes out, checked by scapy's own arithmetic."""
import pytest

from usher_test.clients import receive_line
from usher_test.packets import (HOPS, MALFORMED, OPENED, REDIRECT, SHOT, TO_NEXT)
from usher_test.path import CLIENT_PORT, FAMILIES, assert_sums_are_right, layer_of, path, rebuilt  # noqa: F401

from scapy.all import (ICMP, IP, TCP, Ether, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPerror, IPOption_NOP, IPv6, IPv6ExtHdrDestOpt,
                       IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN, Raw, TCPerror, fragment)


@pytest.mark.parametrize("mode", ["nat", "dnat"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_is_rewritten_both_ways(path, network, family, mode):
    it = path(family, mode)
    sent = it.from_client()
    opened = it.open()
    ip = layer_of(opened)
    assert ip.dst == it.backend.ip and opened[TCP].dport == it.backend.port
    if mode == "nat":
        assert ip.src == network.balancer.address(it.family).replace(".1.1", ".2.1").replace(":1::", ":2::")
        assert opened[TCP].sport in it.ports
    else:
        assert ip.src == it.client and opened[TCP].sport == CLIENT_PORT
    assert opened[TCP].options == sent[TCP].options and opened[TCP].seq == 1000
    assert_sums_are_right(bytes(opened))
    verdict, raw = it.program.run(it.answer(opened), "to2")
    assert verdict == REDIRECT
    back = it.read(raw)
    assert (layer_of(back).src, back[TCP].sport) == (it.front.ip, it.front.port)
    assert (layer_of(back).dst, back[TCP].dport) == (it.client, CLIENT_PORT)
    assert_sums_are_right(raw)
    for payload in (b"x", b"odd", b"y" * 1000):
        verdict, raw = it.program.run(it.from_client("PA", payload=payload))
        assert verdict == REDIRECT and it.read(raw)[Raw].load == payload
        assert it.read(raw)[TCP].sport == opened[TCP].sport
        assert_sums_are_right(raw)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_hop_is_taken_off_and_the_last_one_ends_the_way(path, family):
    it = path(family)
    hops = lambda packet: packet[IP].ttl if IP in packet else packet[IPv6].hlim
    verdict, raw = it.program.run(it.from_client(ttl=7))
    assert verdict == REDIRECT and hops(it.read(raw)) == 6
    assert_sums_are_right(raw)
    assert it.program.run(it.from_client(ttl=1))[0] == SHOT
    assert it.program.verdicts()[HOPS] == 1


def test_ipv4_options_stay(path):
    it = path("4")
    verdict, raw = it.program.run(it.from_client(options=[("MSS", 536)]))
    assert verdict == REDIRECT
    packet = it.from_client(port=CLIENT_PORT + 1)
    packet[IP].options = [IPOption_NOP()] * 8
    del packet[IP].ihl, packet[IP].len, packet[IP].chksum
    verdict, raw = it.program.run(rebuilt(packet))
    assert verdict == REDIRECT
    assert len(it.read(raw)[IP].options) == 8 and it.read(raw)[IP].dst == it.backend.ip
    assert_sums_are_right(raw)


def test_ipv6_extension_headers_stay(path):
    it = path("6")
    for number, between in enumerate((IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]), IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]),
                                      IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt())):
        verdict, raw = it.program.run(it.from_client(port=CLIENT_PORT + number, between=between))
        assert verdict == REDIRECT
        assert it.read(raw)[IPv6].dst == it.backend.ip and it.read(raw)[TCP].dport == it.backend.port
        assert_sums_are_right(raw)


@pytest.mark.parametrize("mode", ["nat", "dnat"])
def test_fragments_go_after_their_first(path, mode):
    it = path("4", mode)
    opened = it.establish()
    whole = it.from_client("PA", payload=bytes(range(256)) * 12)
    whole[IP].id = 4711
    del whole[IP].chksum
    pieces = [rebuilt(it.ether() / piece) for piece in fragment(rebuilt(whole)[IP], 1000)]
    assert len(pieces) == 4
    put_together = b""
    for piece in pieces:
        verdict, raw = it.program.run(piece)
        assert verdict == REDIRECT
        out = it.read(raw)[IP]
        assert (out.dst, out.src) == (it.backend.ip, layer_of(opened).src) and out.frag == piece[IP].frag and out.id == 4711
        put_together += bytes(out.payload)
    joined = rebuilt(Ether() / IP(src=layer_of(opened).src, dst=it.backend.ip, id=4711) / TCP(put_together))
    assert joined[TCP].dport == it.backend.port and joined[Raw].load == whole[Raw].load
    assert_sums_are_right(bytes(joined))
    # One whose first never came isn't ours to judge.
    stray = pieces[2].copy()
    stray[IP].id = 4712
    del stray[IP].chksum
    assert it.program.run(rebuilt(stray)) == (TO_NEXT, bytes(rebuilt(stray)))


def test_ipv6_fragments_go_after_their_first(path):
    it = path("6")
    it.establish()
    tcp = it.from_client("PA", payload=bytes(range(256)) * 4)
    content = bytes(tcp[TCP])
    first, rest = content[:512], content[512:]
    make = lambda offset, more, part: rebuilt(it.ether() / IPv6(src=it.client, dst=it.front.ip) /
                                              IPv6ExtHdrFragment(nh=6, offset=offset, m=more, id=99) / Raw(part))
    verdict, one = it.program.run(make(0, 1, first))
    assert verdict == REDIRECT
    verdict, two = it.program.run(make(64, 0, rest))
    assert verdict == REDIRECT
    assert it.read(two)[IPv6].dst == it.backend.ip
    joined = bytes(it.read(one)[IPv6ExtHdrFragment].payload) + bytes(it.read(two)[IPv6ExtHdrFragment].payload)
    assert_sums_are_right(bytes(rebuilt(Ether() / IPv6(src=it.read(one)[IPv6].src, dst=it.backend.ip) / TCP(joined))))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_about_what_the_client_sent_reaches_the_client(path, family):
    """A router behind the balancer can't pass on what the balancer sent to the backend."""
    it = path(family)
    it.establish()
    verdict, raw = it.program.run(it.from_client("PA", payload=b"z" * 100))
    carried = layer_of(it.read(raw))
    router = "10.77.2.77" if family == "4" else "fd77:0:0:2::77"
    error = ICMP(type=3, code=4, nexthopmtu=1280) if family == "4" else ICMPv6PacketTooBig(mtu=1290)
    content = bytes(carried)[:len(carried) - len(carried[Raw].load) + 8]
    verdict, raw = it.program.run(rebuilt(it.ether("to2") / it.ip(router, carried.src) / error / Raw(content)), "to2")
    assert verdict == REDIRECT
    out = it.read(raw)
    assert layer_of(out).dst == it.client and layer_of(out).src == it.front.ip
    inner = out[IPerror] if family == "4" else out["IPv6 in ICMPv6"]
    assert (inner.src, inner.dst) == (it.client, it.front.ip)
    assert (out[TCPerror].sport, out[TCPerror].dport) == (CLIENT_PORT, it.front.port)
    assert (out[ICMP].nexthopmtu if family == "4" else out[ICMPv6PacketTooBig].mtu) in (1280, 1290)
    assert_sums_are_right(raw)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_about_what_the_backend_sent_reaches_the_backend(path, network, family):
    it = path(family)
    opened = it.establish()
    verdict, raw = it.program.run(it.answer(opened, "PA", b"z" * 100, seq=2001), "to2")
    carried = layer_of(it.read(raw))
    router = "10.77.1.77" if family == "4" else "fd77:0:0:1::77"
    error = ICMP(type=11, code=0) if family == "4" else ICMPv6TimeExceeded()
    content = bytes(carried)[:len(carried) - len(carried[Raw].load) + 8]
    verdict, raw = it.program.run(rebuilt(it.ether() / it.ip(router, it.front.ip) / error / Raw(content)), "to1")
    assert verdict == REDIRECT
    out = it.read(raw)
    assert layer_of(out).dst == it.backend.ip
    inner = out[IPerror] if family == "4" else out["IPv6 in ICMPv6"]
    assert (inner.src, inner.dst) == (it.backend.ip, layer_of(opened).src)
    assert (out[TCPerror].sport, out[TCPerror].dport) == (it.backend.port, opened[TCP].sport)
    assert_sums_are_right(raw)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_cut_short_or_lies_about_its_length_is_left_alone(path, family):
    it = path(family)
    whole = bytes(it.from_client())
    header = 54 if family == "4" else 74
    for length in range(14 + (20 if family == "4" else 40), header):  # the kernel's own check wants an IP header
        given = whole[:length]
        verdict, raw = it.program.run(given)
        assert verdict == TO_NEXT and raw[:length] == given, length
    for field, value in (("dataofs", 4), ("dataofs", 15)):
        packet = it.from_client(options=[])
        setattr(packet[TCP], field, value)
        del packet[TCP].chksum
        verdict, raw = it.program.run(bytes(packet))
        assert verdict == TO_NEXT and raw == bytes(packet)
    long = it.from_client()
    if family == "4":
        long[IP].len = 9000
    else:
        long[IPv6].plen = 9000
    assert it.program.run(bytes(long)) == (TO_NEXT, bytes(long))
    assert it.program.verdicts()[OPENED] == 0 and it.program.verdicts()[MALFORMED] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_isnt_ours_goes_on_untouched(path, network, family):
    it = path(family)
    other_port = it.from_client()
    other_port[TCP].dport = 9
    other_address = it.from_client()
    layer_of(other_address).dst = "10.77.9.9" if family == "4" else "fd77:0:0:9::9"
    for packet in (other_port, other_address):
        verdict, raw = it.program.run(bytes(packet))
        assert verdict == TO_NEXT and raw == bytes(packet)
    # A reset or an end of something that nobody knows makes no flow.
    for flags in ("R", "RA"):
        packet = it.from_client(flags)
        assert it.program.run(packet) == (TO_NEXT, bytes(packet))
    assert it.program.verdicts()[OPENED] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_that_the_proxy_holds_stays_the_proxys(bench, network, path, family):
    it = path(family)
    # From the balancer itself: its packets don't come in by an interface.
    with network.balancer.connect(it.front) as held:
        assert receive_line(held) == "a"
        assert it.usher.active() == 1
        packet = rebuilt(it.ether() / it.ip(held.getsockname()[0], it.front.ip) / TCP(sport=held.getsockname()[1], dport=it.front.port, flags="A"))
        assert it.program.run(packet) == (TO_NEXT, bytes(packet))


def test_every_port_of_the_range_is_used_and_no_two_flows_share_one(path, network):
    it = path("4")
    ports = {it.open(port=20000 + number)[TCP].sport for number in range(200)}
    assert len(ports) == 200 and ports <= it.ports


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packet_from_the_middle_goes_where_the_table_says(path, family):
    it = path(family)
    verdict, raw = it.program.run(it.from_client("PA", payload=b"hello"))
    assert verdict == REDIRECT and layer_of(it.read(raw)).dst == it.backend.ip
    assert_sums_are_right(raw)
