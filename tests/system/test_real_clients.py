"""Real clients and real servers through usher: HTTP, bulk, Redis, PostgreSQL, TLS, and a server that speaks first."""
import json
import re
import socket

import pytest

from usher_test import peers
from usher_test.clients import receive_line
from usher_test.network import fresh_address
from usher_test.toml import config, listener, pool
from usher_test.waiting import SLOWNESS

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
RUN_SECONDS = 2


def through(start_usher, network, backends, family=socket.AF_INET, **pool_keys):
    """An usher in front of these addresses: (usher, the address that clients use)."""
    front = fresh_address(network.balancer, family)
    usher = start_usher(config(listener(front.text), pool(backends, **pool_keys)))
    return usher, front


@pytest.mark.sanitized
@FAMILIES
def test_curl_gets_pages_from_nginx(bench, network, start_usher, family):
    servers = [peers.Nginx.hello(bench, name, family) for name in ("one", "two")]
    usher, front = through(start_usher, network, [server.address.text for server in servers], family, algorithm="round_robin")
    pages = [bench.run(["curl", "-sS", "--fail", "--max-time", "10", f"http://{front.text}/"], place=network.client).stdout for _ in range(4)]
    assert sorted(pages) == ["one\n", "one\n", "two\n", "two\n"]
    usher.expect_only(served=4)


@pytest.mark.sanitized
def test_a_client_reaches_an_ipv6_backend_through_an_ipv4_listener_and_the_other_way_round(bench, network, start_usher):
    for inside, outside in ((socket.AF_INET, socket.AF_INET6), (socket.AF_INET6, socket.AF_INET)):
        server = peers.Nginx.hello(bench, "crossed", outside)
        _, front = through(start_usher, network, [server.address.text], inside)
        assert bench.run(["curl", "-sS", "--fail", "--max-time", "10", f"http://{front.text}/"], place=network.client).stdout == "crossed\n"


@pytest.mark.sanitized
@FAMILIES
def test_wrk_against_nginx_has_no_errors(bench, network, start_usher, family):
    servers = [peers.Nginx.hello(bench, name, family) for name in ("one", "two")]
    usher, front = through(start_usher, network, [server.address.text for server in servers], family)
    said = bench.run([peers.needs("wrk"), "-t2", "-c32", f"-d{RUN_SECONDS}s", "--timeout", "5s", f"http://{front.text}/"], place=network.client).stdout
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    assert int(re.search(r"(\d+) requests in", said).group(1)) > 100, said
    used = [row["connections"] for row in usher.backends().values()]
    assert sum(used) >= 32 and max(used) - min(used) <= 4, f"least_connections spread 32 connections as {used}"


def test_wrk_with_a_connection_for_every_request_has_no_errors(bench, network, start_usher):
    server = peers.Nginx.hello(bench)
    usher, front = through(start_usher, network, [server.address.text])
    said = bench.run([peers.needs("wrk"), "-t1", "-c16", f"-d{RUN_SECONDS}s", "--timeout", "5s", "-H", "Connection: close", f"http://{front.text}/"],
                     place=network.client).stdout
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    requests = int(re.search(r"(\d+) requests in", said).group(1))
    assert usher.metrics().sum("usher_connections_accepted_total") >= requests > 100


@pytest.mark.sanitized
@pytest.mark.parametrize("reverse", [[], ["-R"], ["--bidir"]], ids=["upload", "download", "both_ways"])
def test_iperf3_moves_bulk(bench, network, start_usher, reverse):
    server = peers.Iperf3(bench)
    usher, front = through(start_usher, network, [server.address.text])
    said = json.loads(bench.run(["iperf3", "-c", front.ip, "-p", front.port, "-t", RUN_SECONDS, "-J", *reverse], place=network.client,
                                seconds=30).stdout)
    assert "error" not in said, said.get("error")
    moved = said["end"]["sum_received"]["bytes"]
    assert moved > 10 * 2**20, f"only {moved} bytes in {RUN_SECONDS} s"
    seen = usher.metrics()
    if "-R" not in reverse:
        assert seen.sum("usher_bytes_total", direction="in") >= moved
    if reverse:
        assert seen.sum("usher_bytes_total", direction="out") >= (moved if "-R" in reverse else 10 * 2**20)


def test_iperf3_with_parallel_streams_over_ipv6(bench, network, start_usher):
    server = peers.Iperf3(bench, socket.AF_INET6)
    _, front = through(start_usher, network, [server.address.text], socket.AF_INET6)
    said = json.loads(bench.run(["iperf3", "-c", front.ip, "-p", front.port, "-t", RUN_SECONDS, "-P", "8", "-J"], place=network.client,
                                seconds=30).stdout)
    assert said["end"]["sum_received"]["bytes"] > 10 * 2**20


@pytest.mark.sanitized
def test_redis_benchmark_against_redis(bench, network, start_usher):
    server = peers.Redis(bench)
    usher, front = through(start_usher, network, [server.address.text])
    said = bench.run(["redis-benchmark", "-h", front.ip, "-p", front.port, "-n", "20000", "-c", "50", "-P", "4", "-t", "set,get,lrange_100", "--csv"],
                     place=network.client, seconds=50).stdout
    rates = dict(re.findall(r'^"([^"]+)","([\d.]+)"', said, re.MULTILINE))
    assert {"SET", "GET"} <= set(rates) and all(float(rate) > 0 for rate in rates.values()), said
    assert usher.metrics().sum("usher_connections_accepted_total") >= 50


@pytest.mark.seconds(120)
def test_pgbench_against_postgresql(bench, network, start_usher):
    server = peers.Postgres(bench)
    usher, front = through(start_usher, network, [server.address.text])
    to_usher = ["-h", front.ip, "-p", front.port, "-U", "postgres", "postgres"]
    bench.run(["pgbench", "-i", "-q", "-s", "1", *to_usher], place=network.client)
    said = bench.run(["pgbench", "-c", "8", "-j", "2", "-T", RUN_SECONDS, *to_usher], place=network.client).stdout
    assert int(re.search(r"number of transactions actually processed: (\d+)", said).group(1)) > 0, said
    assert "number of failed transactions: 0 " in said, said
    reconnecting = bench.run(["pgbench", "-C", "-S", "-n", "-c", "4", "-t", "20", *to_usher], place=network.client).stdout
    assert "number of transactions actually processed: 80/80" in reconnecting, reconnecting
    # 8 clients, and a connection for each of the 80.
    assert usher.metrics().sum("usher_connections_accepted_total") >= 88


@pytest.mark.sanitized
@FAMILIES
def test_tls_passes_through_sealed(bench, network, start_usher, family):
    server = peers.TlsServer(bench, "sealed.example.org", family)
    _, front = through(start_usher, network, [server.address.text], family)
    client = ["openssl", "s_client", "-connect", front.text, "-servername", "sealed.example.org", "-verify_hostname", "sealed.example.org",
              "-CAfile", server.certificate, "-verify_return_error", "-brief", "-ign_eof"]
    said = bench.run(client, place=network.client, text_in="drawer\n" + "x" * 4000 + "\nCLOSE\n", seconds=20, status=None)
    assert "Verification: OK" in said.stderr, said.stderr
    assert "reward" in said.stdout, f"{said.stdout}\n{said.stderr}"


@pytest.mark.sanitized
@FAMILIES
def test_a_server_that_speaks_first_is_heard(bench, network, start_usher, family):
    servers = peers.NameServers(bench, ["mail"], mode="banner", family=family)
    usher, front = through(start_usher, network, servers.pairs, family)
    with network.client.connect(front) as client:
        assert receive_line(client) == "220 mail ready"  # before the client said anything
        client.sendall(b"HELO there\r\n")
        assert receive_line(client) == "250 mail HELO there"
        client.sendall(b"QUIT\r\n")
        assert receive_line(client) == "221 mail bye"
        assert client.recv(1) == b""
    usher.expect_only(served=1)


def test_a_thousand_connections_at_once_are_all_answered(bench, network, start_usher):
    servers = peers.NameServers(bench, ["a", "b"])
    usher, front = through(start_usher, network, servers.pairs)
    held = [network.client.connect(front) for _ in range(1000)]
    try:
        for client in held:
            client.settimeout(20 * SLOWNESS)
            assert receive_line(client) in ("a", "b")
        assert usher.active() == 1000
        for number, client in enumerate(held):
            client.sendall(b"still here %d\n" % number)
        for number, client in enumerate(held):
            assert receive_line(client) == f"still here {number}"
    finally:
        for client in held:
            client.close()
    usher.expect_only(served=1000)
