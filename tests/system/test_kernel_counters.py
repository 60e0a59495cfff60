"""What eBPF counts for each backend, on both datapaths, against what was sent, refused, lost and reset."""
import json
import socket

import pytest

from usher_test.clients import PAYLOAD, exchange_many, exchange_once, receive_all, receive_exactly, receive_line, refused, reset_on_close
from usher_test.network import Address, fresh_address
from usher_test.peers import NameServers, needs, require_separate
from usher_test.toml import config, listener, pool
from usher_test.waiting import eventually

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
EXCHANGES = 200
LARGE_BYTES = 2_000_000
NAME = "a"


class Losses:
    """nftables at the backend's door: takes away the first packets of a kind that come to a port, and counts them."""

    def __init__(self, bench, address, match, packets):
        needs("nft")
        self.bench, self.place = bench, bench.net.backend
        rules = (f"table inet usher_test {{\n chain door {{\n  type filter hook input priority 0; policy accept;\n"
                 f"  tcp dport {address.port} {match} limit rate 1/day burst {packets} packets counter drop\n }}\n}}\n")
        path = bench.path("losses.nft")
        path.write_text(rules)
        bench.run(["nft", "-f", path], place=self.place)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bench.run(["nft", "delete", "table", "inet", "usher_test"], place=self.place)

    def count(self):
        said = json.loads(self.bench.run(["nft", "-j", "list", "table", "inet", "usher_test"], place=self.place).stdout)
        rules = [one["rule"]["expr"] for one in said["nftables"] if "rule" in one]
        return next(step["counter"]["packets"] for step in rules[0] if "counter" in step)


SYNS, DATA = "tcp flags & (syn | ack) == syn", "meta length > 1000"


def proxy(start_usher, front, servers, **keys):
    usher = start_usher(config(listener(front.text), pool(servers.pairs, **keys)))
    said = usher.get("/api/v1/status")["kernel_counters"]
    if said != "ebpf":
        usher.stop()
        pytest.skip(f"the proxy's connections are {said}")
    return usher


def kernel(network, start_usher, servers, family):
    """An usher whose listener the kernel serves, and the listener's address."""
    require_separate(network)
    front = Address(network.balancer.address(family), servers.addresses[NAME].port)
    usher = start_usher(config(listener(front.text, datapath="kernel"), pool(servers.pairs, algorithm="two_choices"), workers=1))
    row = usher.get("/api/v1/listeners")["listeners"][0]
    if row["datapath"] != "kernel":
        usher.stop()
        pytest.skip(f"the proxy serves it: {row['datapath_reason']}")
    return usher, front


def counts(usher):
    return usher.backends()[f"app/{NAME}"]["kernel"]


def count_is(usher, seconds=5.0, **wanted):
    """Waits until the kernel has counted just that."""
    def check():
        seen = counts(usher)
        assert {key: seen[key] for key in wanted} == wanted, seen
        return True
    eventually(check, seconds, f"the kernel counts {wanted}")
    return counts(usher)


def send_large(place, address):
    """LARGE_BYTES to the backend and back again."""
    with place.connect(address) as client:
        assert receive_line(client) == NAME
        block = bytes(100_000)
        for _ in range(LARGE_BYTES // len(block)):
            client.sendall(block)
            assert receive_exactly(client, len(block)) == block
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_proxys_connections_are_counted_and_nobody_elses(bench, network, start_usher, family):
    servers = NameServers(bench, [NAME], family=FAMILIES[family])
    front = fresh_address(network.balancer, FAMILIES[family])
    # Health checks connect to the same address all the while.
    usher = proxy(start_usher, front, servers, health={"type": "tcp", "interval": "100ms"})
    exchange_many(network.client, front, EXCHANGES)
    exchange_once(network.balancer, servers.addresses[NAME])  # the test, past usher
    said = len(NAME) + 1
    seen = count_is(usher, connections=EXCHANGES, established=EXCHANGES, refused=0, resets=0, syn_retransmits=0,
                    bytes_in=EXCHANGES * len(PAYLOAD), bytes_out=EXCHANGES * (said + len(PAYLOAD)))
    assert seen["packets_in"] >= 4 * EXCHANGES and seen["packets_out"] >= 3 * EXCHANGES, seen
    assert 0 < seen["connect_p50"] <= seen["connect_p99"] < 10, seen
    assert seen["flows"] == 0, "flows are the kernel datapath's"


def test_what_the_proxy_is_refused_is_counted(bench, network, start_usher, front):
    servers = NameServers(bench, [NAME])
    usher = proxy(start_usher, front, servers)
    exchange_once(network.client, front)
    servers.kill()
    for _ in range(5):
        with network.client.connect(front) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
    failures = usher.backends()[f"app/{NAME}"]["connect_failures"]["refused"]
    assert failures >= 5
    count_is(usher, connections=1 + failures, established=1, refused=failures, resets=0)


def test_what_is_lost_between_proxy_and_backend_is_counted_and_arrives(bench, network, start_usher, front):
    require_separate(network)
    servers = NameServers(bench, [NAME])
    usher = proxy(start_usher, front, servers)
    with Losses(bench, servers.addresses[NAME], SYNS, 1) as losses:
        exchange_once(network.client, front)
        assert losses.count() == 1
    seen = count_is(usher, connections=1, established=1, syn_retransmits=1, retransmits=0)
    assert 1 <= seen["connect_p50"] < 5, "a SYN is sent again after a second"
    with Losses(bench, servers.addresses[NAME], DATA, 3) as losses:
        send_large(network.client, front)
        lost = losses.count()
        assert lost == 3
    seen = count_is(usher, established=2, bytes_in=LARGE_BYTES + len(PAYLOAD), bytes_out=LARGE_BYTES + len(PAYLOAD) + 2 * (len(NAME) + 1))
    assert seen["retransmits"] >= lost, seen
    metrics = usher.metrics()
    assert metrics.sum("usher_kernel_retransmits_total", pool="app", backend=NAME) == seen["retransmits"]
    assert metrics.sum("usher_kernel_connect_seconds_count", pool="app", backend=NAME) == 2
    table = usher.command("backends").stdout
    assert "RETRANS" in table.splitlines()[0]


def test_a_long_connection_is_counted_while_it_lasts(bench, network, start_usher, front):
    servers = NameServers(bench, [NAME])
    usher = proxy(start_usher, front, servers)
    with network.client.connect(front) as client:
        receive_line(client)

        def counted():
            client.sendall(PAYLOAD)
            receive_exactly(client, len(PAYLOAD))
            return counts(usher)["bytes_in"] >= 2 * len(PAYLOAD)
        eventually(counted, 10, "bytes of a connection that goes on")


def test_a_reset_of_the_client_resets_the_backend_once(bench, network, start_usher, front):
    servers = NameServers(bench, [NAME])
    usher = proxy(start_usher, front, servers)
    client = network.client.connect(front)
    receive_line(client)
    reset_on_close(client)
    client.close()
    count_is(usher, connections=1, established=1, resets=1)


def test_counts_survive_a_reload_and_a_newcomer_begins_at_zero(bench, network, start_usher, front):
    servers = NameServers(bench, [NAME, "b"])
    usher = start_usher(config(listener(front.text), pool([servers.pairs[0]])))
    if usher.get("/api/v1/status")["kernel_counters"] != "ebpf":
        pytest.skip("the proxy's connections are not counted here")
    exchange_many(network.client, front, 20)
    usher.reload(config(listener(front.text), pool(servers.pairs)))
    count_is(usher, established=20)
    assert usher.backends()["app/b"]["kernel"]["established"] == 0
    exchange_many(network.client, front, 20)
    both = [row["kernel"]["established"] for row in usher.backends().values()]
    assert sum(both) == 40 and min(both) == 10, both


@pytest.mark.parametrize("family", FAMILIES)
def test_flows_of_the_kernel_datapath_are_counted(bench, network, start_usher, family):
    servers = NameServers(bench, [NAME], family=FAMILIES[family])
    usher, front = kernel(network, start_usher, servers, FAMILIES[family])
    held = network.client.connect(front)
    receive_line(held)
    assert counts(usher)["flows"] == 1
    exchange_many(network.client, front, EXCHANGES)
    seen = count_is(usher, connections=EXCHANGES + 1, established=EXCHANGES + 1, refused=0, syn_retransmits=0, flows=1)
    sent = EXCHANGES * len(PAYLOAD)
    back = sent + (EXCHANGES + 1) * (len(NAME) + 1)
    for total, bytes_, packets in ((sent, "bytes_in", "packets_in"), (back, "bytes_out", "packets_out")):
        headers = seen[bytes_] - total  # of IP and TCP: 40 to 120 bytes a packet
        assert 40 * seen[packets] <= headers <= 120 * seen[packets], seen
    row = usher.get("/api/v1/listeners")["listeners"][0]
    assert row["kernel"] == {"accepted": EXCHANGES + 1, "active": 1}
    assert row["accepted"] == 0, "the proxy had none of them"
    metrics = usher.metrics()
    assert metrics.sum("usher_kernel_flows_active") == 1
    assert metrics.sum("usher_kernel_verdicts_total", verdict="opened") == EXCHANGES + 1
    assert metrics.sum("usher_kernel_verdicts_total", verdict="forwarded") >= 6 * EXCHANGES
    held.close()
    count_is(usher, flows=0)


def test_a_flow_of_two_entries_is_one_flow(bench, network, start_usher):
    servers = NameServers(bench, [NAME])
    usher, front = kernel(network, start_usher, servers, socket.AF_INET)
    with network.client.connect(front) as held:
        receive_line(held)
        eventually(lambda: usher.metrics().sum("usher_kernel_flows") == 1, 5, "one flow")


def test_what_the_kernel_datapath_brings_to_nobody_is_refused(bench, network, start_usher):
    servers = NameServers(bench, [NAME])
    usher, front = kernel(network, start_usher, servers, socket.AF_INET)
    exchange_once(network.client, front)
    servers.kill()
    assert all(refused(network.client, front) for _ in range(5))
    count_is(usher, connections=6, established=1, refused=5)


def test_what_is_lost_behind_the_kernel_datapath_is_counted(bench, network, start_usher):
    servers = NameServers(bench, [NAME])
    usher, front = kernel(network, start_usher, servers, socket.AF_INET)
    with Losses(bench, servers.addresses[NAME], SYNS, 1) as losses:
        exchange_once(network.client, front)
        assert losses.count() == 1
    count_is(usher, connections=1, established=1, syn_retransmits=1)
    with Losses(bench, servers.addresses[NAME], DATA, 3) as losses:
        send_large(network.client, front)
        assert losses.count() == 3
    assert counts(usher)["retransmits"] >= 1
