"""Real clients and real servers through the kernel datapath: every byte, both families, every mode, and not one connection in the proxy."""
import contextlib
import hashlib
import json
import random
import re
import socket

import pytest

from usher_test import peers
from usher_test.clients import ending, exchange_many, exchange_once, receive_all, receive_exactly, receive_line, reset_on_close
from usher_test.kernel import FAMILIES, MODES, KernelFront, added, ip, near_backend, way_back, without_clsact
from usher_test.flood import SYN, Wire
from usher_test.network import Address, address_of, fresh_address
from usher_test.packets import WAYS
from usher_test.streams import Strand, digest_of, hash_stream, send_stream
from usher_test.toml import config, listener, pool
from usher_test.waiting import SLOWNESS, eventually

RUN_SECONDS = 1
FILE_BYTES = (24 << 20) + 4093
STREAM_BYTES = (24 << 20) + 4093
HALF_BYTES = 4 << 20
NAT_PORTS = set(range(1024, 32768)) | set(range(61000, 65536))  # what a fresh namespace's stack leaves


@pytest.fixture
def served(bench, network, start_usher):
    """Makes KernelFronts; what their mode needs of the topology goes with the test."""
    peers.require_separate(network)
    with contextlib.ExitStack() as ways:
        def make(backends, family=socket.AF_INET, mode="nat", **options):
            ways.enter_context(way_back(network, mode, family))  # one front a test
            if options.get("way") == "clsact":
                ways.callback(without_clsact, network.balancer)
            return KernelFront(bench, network, start_usher, backends, family, mode, **options)
        yield make


def curl(bench, network, *words):
    return bench.run(["curl", "-sS", "--fail", "--max-time", "30", *words], place=network.client).stdout


def file_server(bench, family, listens="", server=""):
    """nginx with a big random file, and a folder that takes files by PUT: (server, the file's digest)."""
    address = fresh_address(bench.net.backend, family)
    files = bench.path("files")
    files.mkdir()
    content = random.Random(7).randbytes(FILE_BYTES)
    (files / "big").write_bytes(content)
    http = (f"client_max_body_size 1g; server {{ listen {address.text} {listens}; root {files}; dav_methods PUT; {server} "
            f"location / {{ client_body_temp_path {bench.path('put')}; }} }}")
    return peers.Nginx(bench, address, http=http), hashlib.sha256(content).hexdigest()


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("way", WAYS)
@MODES
@FAMILIES
def test_curl_moves_a_big_file_both_ways(bench, network, served, family, mode, way):
    server, digest = file_server(bench, family)
    it = served([server.address.text], family, mode, way=way)
    got = bench.path("got")
    curl(bench, network, "-o", got, f"http://{it.front.text}/big")
    assert sha256_of(got) == digest
    curl(bench, network, "-T", got, f"http://{it.front.text}/sent")
    assert sha256_of(bench.path("files") / "sent") == digest
    it.assert_kernel_served(2)


@MODES
@FAMILIES
def test_http2_over_tls_moves_a_big_file(bench, network, served, family, mode):
    key, certificate = bench.path("tls.key"), bench.path("tls.pem")
    bench.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
               "/CN=sealed.example.org", "-addext", "subjectAltName=DNS:sealed.example.org", "-keyout", key, "-out", certificate])
    server, digest = file_server(bench, family, "ssl http2", f"ssl_certificate {certificate}; ssl_certificate_key {key};")
    it = served([server.address.text], family, mode)
    got = bench.path("got")
    to = ["--http2", "--cacert", certificate, "--connect-to", f"sealed.example.org:443:{it.front.text}", "-w", "%{http_version}\n"]
    assert curl(bench, network, *to, "-o", got, "https://sealed.example.org/big") == "2\n"
    assert sha256_of(got) == digest
    # Many streams in one connection.
    pages = [word for number in range(20) for word in ("-o", bench.path(f"got{number}"), f"https://sealed.example.org/big?{number}")]
    assert curl(bench, network, *to, "--parallel", "-r", "0-65535", *pages).split() == ["2"] * 20
    first = got.read_bytes()[:65536]
    assert all(bench.path(f"got{number}").read_bytes() == first for number in range(20))
    it.assert_kernel_served(2)


@FAMILIES
def test_tls_is_sealed_end_to_end(bench, network, served, family):
    server = peers.TlsServer(bench, "sealed.example.org", family)
    it = served([server.address.text], family)
    client = ["openssl", "s_client", "-connect", it.front.text, "-servername", "sealed.example.org", "-verify_hostname", "sealed.example.org",
              "-CAfile", server.certificate, "-verify_return_error", "-brief", "-ign_eof"]
    said = bench.run(client, place=network.client, text_in="drawer\n" + "x" * 4000 + "\nCLOSE\n", seconds=20, status=None)
    assert "Verification: OK" in said.stderr and "reward" in said.stdout, f"{said.stdout}\n{said.stderr}"
    it.assert_kernel_served()


@MODES
@FAMILIES
def test_wrk_has_no_errors(bench, network, served, family, mode):
    servers = [peers.Nginx.hello(bench, name, family) for name in ("one", "two")]
    it = served([server.address.text for server in servers], family, mode)
    for header in ("X-Kept: yes", "Connection: close"):
        said = bench.run([peers.needs("wrk"), "-t2", "-c32", f"-d{RUN_SECONDS}s", "--timeout", "5s", "-H", header, f"http://{it.front.text}/"],
                         place=network.client).stdout
        assert "Socket errors" not in said and "Non-2xx" not in said, said
        requests = int(re.search(r"(\d+) requests in", said).group(1))
        assert requests > 100, said
    it.assert_kernel_served(requests)


@MODES
@pytest.mark.parametrize("words", [[], ["-R"], ["--bidir"], ["-P", "8"], ["-P", "8", "-R"]],
                         ids=["upload", "download", "both_ways", "parallel_up", "parallel_down"])
def test_iperf3_moves_bulk(bench, network, served, words, mode):
    server = peers.Iperf3(bench)
    it = served([server.address.text], mode=mode)
    said = json.loads(bench.run(["iperf3", "-c", it.front.ip, "-p", it.front.port, "-t", RUN_SECONDS, "-J", *words], place=network.client,
                                seconds=30).stdout)
    assert "error" not in said, said.get("error")
    moved = said["end"]["sum_received"]["bytes"]
    assert moved > 10 * 2**20, f"only {moved} bytes in {RUN_SECONDS} s"
    it.assert_kernel_served(2)


def test_iperf3_moves_bulk_over_ipv6(bench, network, served):
    server = peers.Iperf3(bench, socket.AF_INET6)
    it = served([server.address.text], socket.AF_INET6)
    said = json.loads(bench.run(["iperf3", "-c", it.front.ip, "-p", it.front.port, "-t", RUN_SECONDS, "-P", "4", "-J", "--bidir"],
                                place=network.client, seconds=30).stdout)
    assert said["end"]["sum_received"]["bytes"] > 10 * 2**20
    it.assert_kernel_served(9)


@FAMILIES
def test_redis_benchmark_against_redis(bench, network, served, family):
    server = peers.Redis(bench, family)
    it = served([server.address.text], family)
    said = bench.run(["redis-benchmark", "-h", it.front.ip, "-p", it.front.port, "-n", "20000", "-c", "50", "-P", "4", "-t", "set,get,lrange_100",
                      "--csv"], place=network.client, seconds=50).stdout
    rates = dict(re.findall(r'^"([^"]+)","([\d.]+)"', said, re.MULTILINE))
    assert {"SET", "GET"} <= set(rates) and all(float(rate) > 0 for rate in rates.values()), said
    it.assert_kernel_served(50)


@pytest.mark.seconds(120)
@FAMILIES
def test_pgbench_against_postgresql(bench, network, served, family):
    server = peers.Postgres(bench, family)
    it = served([server.address.text], family)
    to_usher = ["-h", it.front.ip, "-p", it.front.port, "-U", "postgres", "postgres"]
    bench.run(["pgbench", "-i", "-q", "-s", "1", *to_usher], place=network.client)
    said = bench.run(["pgbench", "-c", "8", "-j", "2", "-T", RUN_SECONDS, *to_usher], place=network.client).stdout
    assert "number of failed transactions: 0 " in said, said
    reconnecting = bench.run(["pgbench", "-C", "-S", "-n", "-c", "4", "-t", "20", *to_usher], place=network.client).stdout
    assert "number of transactions actually processed: 80/80" in reconnecting, reconnecting
    it.assert_kernel_served(88)  # 8 clients, and a connection for each of the 80


@contextlib.contextmanager
def connections(network, served, family, mode):
    """(front, a function that makes one connection: client's end, backend's end, where the backend saw it come from)."""
    with network.backend.listen(family) as server, contextlib.ExitStack() as ends:
        it = served([address_of(server).text], family, mode)

        def connect():
            client = ends.enter_context(network.client.connect(it.front))
            accepted, seen_from = server.accept()
            ends.enter_context(accepted).settimeout(10 * SLOWNESS)
            return client, accepted, Address(*seen_from[:2])
        yield it, connect


@MODES
@FAMILIES
def test_the_backend_sees_the_source_that_the_mode_promises(network, served, family, mode):
    with connections(network, served, family, mode) as (it, connect):
        client, accepted, seen_from = connect()
        if mode == "dnat":
            assert seen_from == Address(*client.getsockname()[:2])
        else:
            assert seen_from.ip == near_backend(network, family) and seen_from.port in NAT_PORTS
        assert Address(*client.getpeername()[:2]) == it.front
        client.sendall(b"hello")
        assert receive_exactly(accepted, 5) == b"hello"
        it.assert_kernel_served()


@MODES
@FAMILIES
def test_a_half_closed_connection_goes_on_the_other_way(network, served, family, mode):
    with connections(network, served, family, mode) as (it, connect):
        for seed, ends in enumerate((connect()[:2], reversed(connect()[:2]))):
            first, second = ends
            first.sendall(b"all that I have to say")
            first.shutdown(socket.SHUT_WR)
            assert receive_all(second) == b"all that I have to say"
            sender = Strand(send_stream, second, seed, HALF_BYTES)
            assert hash_stream(first) == (HALF_BYTES, digest_of(seed, HALF_BYTES))
            sender.get()
        it.assert_kernel_served(2)


@MODES
@FAMILIES
def test_a_reset_is_passed_on(network, served, family, mode):
    with connections(network, served, family, mode) as (it, connect):
        for ends in (connect()[:2], reversed(connect()[:2])):
            first, second = ends
            first.sendall(b"x")
            assert receive_exactly(second, 1) == b"x"
            reset_on_close(first)
            first.close()
            assert ending(second) == "reset"
        it.assert_kernel_served(2)


@FAMILIES
def test_a_port_that_nobody_listens_on_is_refused_by_the_backend(network, served, family):
    it = served([fresh_address(network.backend, family).text], family)
    with pytest.raises(ConnectionRefusedError):
        network.client.connect(it.front)
    assert it.accepted() == 0 and it.verdicts()["opened"] == 1


def both_ways(network, it, server):
    """One connection, a stream of random bytes each way at the same time, each byte checked."""
    with network.client.connect(it.front) as client:
        accepted, _ = server.accept()
        with accepted:
            for one in (client, accepted):
                one.settimeout(30)
            senders = [Strand(send_stream, one, seed, STREAM_BYTES) for seed, one in ((5, client), (6, accepted))]
            readers = [Strand(hash_stream, one) for one in (accepted, client)]
            for seed, reader in zip((5, 6), readers):
                assert reader.get() == (STREAM_BYTES, digest_of(seed, STREAM_BYTES))
            for sender in senders:
                sender.get()


@contextlib.contextmanager
def offloads(bench, network, state):
    """Segmentation offloads (GSO, TSO, GRO) on every interface are `state` for as long as the block lasts, then on again."""
    ends = [(network.client, "up0"), (network.balancer, "to1"), (network.balancer, "to2"), (network.backend, "up0")]
    turn = lambda to: [bench.run([peers.needs("ethtool"), "-K", device, "tso", to, "gso", to, "gro", to], place=place) for place, device in ends]
    turn(state)
    try:
        yield
    finally:
        turn("on")


@pytest.mark.parametrize("state", ["on", "off"])
@MODES
@FAMILIES
def test_gso_on_and_off(bench, network, served, family, mode, state):
    with network.backend.listen(family) as server, offloads(bench, network, state):
        it = served([address_of(server).text], family, mode)
        both_ways(network, it, server)
        it.assert_kernel_served()


@contextlib.contextmanager
def narrow(network, side, family, mode):
    """The link of `side` takes 1280 bytes, the other 1500; and TCP of neither end knows: both announce segments for 1500.

    Each end gets a route of its own, which takes along what path MTU discovery has learned when it goes.
    """
    bits, announced = {socket.AF_INET: (32, 1460), socket.AF_INET6: (128, 1440)}[family]
    near = near_backend(network, family)
    answers = [f"{network.client.address(family)}/{bits}", "via", near] if mode == "dnat" else [f"{near}/{bits}"]
    links = [(network.client, "up0"), (network.balancer, "to1")] if side == "client" else [(network.backend, "up0"), (network.balancer, "to2")]
    widths = lambda width: [ip(place, "link", "set", device, "mtu", width) for place, device in links]
    with added(network.client, "route", f"{network.balancer.address(family)}/{bits}", "dev", "up0", "advmss", announced), \
         added(network.backend, "route", *answers, "dev", "up0", "advmss", announced):
        widths(1280)
        try:
            yield
        finally:
            widths(1500)


@pytest.mark.parametrize("state", ["on", "off"])
@pytest.mark.parametrize("side", ["client", "backend"])
@MODES
@FAMILIES
def test_sides_of_different_mtu(bench, network, served, family, mode, side, state):
    with network.backend.listen(family) as server, offloads(bench, network, state), narrow(network, side, family, mode):
        it = served([address_of(server).text], family, mode)
        both_ways(network, it, server)
        it.assert_kernel_served()
        if state == "off":
            assert it.verdicts()["too_big"] > 0, "nobody sent a packet that was too big: this test shows nothing"


@MODES
def test_clients_behind_a_vlan_tag(network, served, mode):
    peers.require_separate(network)
    tagged = lambda place, device: added(place, "link", "link", device, "name", "tagged", "type", "vlan", "id", "7")
    with contextlib.ExitStack() as made:
        try:
            for place, device, address in ((network.client, "up0", "10.77.7.2/24"), (network.balancer, "to1", "10.77.7.1/24")):
                made.enter_context(tagged(place, device))
                made.enter_context(added(place, "address", address, "dev", "tagged"))
                ip(place, "link", "set", "tagged", "up")
        except AssertionError as refused:
            if "Unknown device type" not in str(refused):
                raise
            pytest.skip("this kernel has no VLAN devices (CONFIG_VLAN_8021Q)")
        server = made.enter_context(network.backend.listen())
        it = served([address_of(server).text], mode=mode, bind=Address("10.77.7.1", fresh_address(network.balancer).port))
        both_ways(network, it, server)
        it.assert_kernel_served()


def test_a_tagged_packet_is_left_to_the_vlan_device(bench, network, served):
    it = served([fresh_address(network.backend).text])
    with Wire(network, network.client) as wire:
        for port, tag in ((50001, 7), (50002, None)):
            wire.send(wire.frame((network.client.ip4, port), it.front, SYN, tag=tag))
    eventually(lambda: it.verdicts()["opened"] == 1, 5)
    assert it.verdicts()["opened"] == 1 and it.verdicts()["forwarded"] == 2  # the SYN of the second, and what the backend said to it


@FAMILIES
def test_a_client_on_the_balancer_itself_is_the_proxys(bench, network, served, family):
    servers = peers.NameServers(bench, ["a"], family=family)
    it = served(servers.pairs, family)
    assert exchange_once(network.balancer, it.front) == "a" and it.accepted() == 1
    assert exchange_once(network.client, it.front) == "a" and it.accepted() == 1
    it.usher.expect_only(served=1)


def chosen(usher):
    row, = usher.get("/api/v1/listeners")["listeners"]
    return row["datapath"], row["datapath_reason"]


def test_auto_says_that_a_backend_is_on_this_machine(bench, network, start_usher, front):
    peers.require_separate(network)
    with network.balancer.listen() as server:
        usher = start_usher(config(listener(front.text, datapath="auto"), pool([("near", address_of(server).text)], algorithm="two_choices")))
        assert chosen(usher) == ("proxy", "backend near is on this machine")
        with network.client.connect(front):
            server.accept()[0].close()
    usher.expect_only(served=1)


def test_auto_says_that_an_algorithm_needs_the_proxy(bench, network, start_usher, front):
    servers = peers.NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text, datapath="auto"), pool(servers.pairs, algorithm="least_connections")))
    assert chosen(usher) == ("proxy", "the pool's algorithm needs the proxy; two_choices and maglev don't")
    assert exchange_once(network.client, front) == "a"
    usher.expect_only(served=1)


@pytest.mark.parametrize("datapath", ["auto", "kernel"])
def test_without_the_privilege_the_proxy_serves_and_says_why(bench, network, make_usher, front, datapath):
    peers.require_separate(network)
    servers = peers.NameServers(bench, ["a"])
    drop = ["setpriv", "--bounding-set=-bpf,-sys_admin,-net_admin,-perfmon", "--inh-caps=-bpf,-sys_admin,-net_admin,-perfmon", "--"]
    usher = make_usher(config(listener(front.text, datapath=datapath), pool(servers.pairs, algorithm="two_choices")), prefix=drop).start()
    taken, why = chosen(usher)
    assert taken == "proxy" and "CAP_BPF" in why, why
    assert exchange_many(network.client, front, 20) == {"a": 20}
    said = [event for event in usher.get("/api/v1/events")["events"] if "CAP_BPF" in event["message"] and "web" in event["message"]]
    assert said, usher.get("/api/v1/events")
    usher.expect_only(served=20)


def test_maglev_keeps_a_client_and_two_choices_spreads(bench, network, served):
    servers = peers.NameServers(bench, ["a", "b"])
    it = served(servers.pairs, algorithm="maglev")
    assert len(exchange_many(network.client, it.front, 30)) == 1
    it.assert_kernel_served(30)
    it.usher.reload(it.config(servers.pairs, algorithm="two_choices"))
    names = exchange_many(network.client, it.front, 60)
    assert min(names["a"], names["b"]) >= 10, names
    it.assert_kernel_served(90)


def test_two_choices_goes_by_the_flows_that_are_open(bench, network, served):
    servers = peers.NameServers(bench, ["a", "b"])
    it = served(servers.pairs)
    with contextlib.ExitStack() as held:
        def names(count):
            return [receive_line(held.enter_context(network.client.connect(it.front))) for _ in range(count)]
        it.usher.command("drain", "app/b")
        assert set(names(100)) == {"a"}
        it.usher.command("enable", "app/b")
        # b has fewer until it has 100, too: it gets all but those for which a was drawn twice, 75 of 100; chance alone would give it 50.
        assert names(100).count("b") >= 58
        it.assert_kernel_served(200)
