"""Who gets how many: weights, stickiness, tiers, and counts that are right across workers."""
import collections

import pytest

from usher_test.clients import exchange_many, exchange_once, receive_line
from usher_test.peers import NameServers
from usher_test.toml import backend, config, listener, pool
from usher_test.waiting import eventually

WEIGHTS = {f"w{number}": weight for number, weight in enumerate((10, 20, 30, 40, 50, 60, 70, 80, 90, 150))}
CONNECTIONS = 10_000
ALGORITHMS = ["round_robin", "random", "two_choices", "least_connections", "least_latency", "source_hash", "maglev"]


def weighted(servers, weights):
    return [backend(name, address.text, weight=weights[name]) for name, address in servers.addresses.items()]


@pytest.mark.seconds(120)
@pytest.mark.parametrize("workers", [1, 2])
def test_round_robin_is_within_two_percent_of_the_weights(bench, network, start_usher, front, workers):
    servers = NameServers(bench, WEIGHTS)
    usher = start_usher(config(listener(front.text), pool(weighted(servers, WEIGHTS), algorithm="round_robin"), workers=workers))
    names = exchange_many(network.client, front, CONNECTIONS)
    total = sum(WEIGHTS.values())
    for name, weight in WEIGHTS.items():
        share = CONNECTIONS * weight / total
        assert abs(names[name] - share) <= 0.02 * share, f"{name}: {names[name]}, its weight asks for {share:g}; all: {dict(names)}"
    usher.expect_only(served=CONNECTIONS)
    counted = {row["name"]: row["connections"] for row in usher.backends().values()}
    assert counted == dict(names)


@pytest.mark.sanitized
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_leaves_out_weight_zero_and_serves_everyone(bench, network, start_usher, front, algorithm):
    weights = {"heavy": 300, "light": 100, "none": 0}
    servers = NameServers(bench, weights)
    usher = start_usher(config(listener(front.text), pool(weighted(servers, weights), algorithm=algorithm, hash_key="source_port")))
    names = exchange_many(network.client, front, 400)
    assert names["none"] == 0 and sum(names.values()) == 400
    if algorithm not in ("least_latency", "least_connections", "two_choices"):  # these follow what happens, not only the weights
        assert 210 <= names["heavy"] <= 370, dict(names)
    usher.expect_only(served=400)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_least_connections_counts_across_workers(bench, network, start_usher, front, workers):
    servers = NameServers(bench, ["a", "b", "c", "d"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs, algorithm="least_connections"), workers=workers))
    held, names = [], collections.Counter()
    try:
        for _ in range(100):  # one after the other, so that each decision sees all before it
            client = network.client.connect(front)
            held.append(client)
            names[receive_line(client)] += 1
        assert max(names.values()) - min(names.values()) <= 1, dict(names)
        assert {row["active"] for row in usher.backends().values()} == {25}
    finally:
        for client in held:
            client.close()


@pytest.mark.parametrize("algorithm", ["source_hash", "maglev"])
def test_one_client_keeps_its_backend(bench, network, start_usher, front, algorithm):
    servers = NameServers(bench, list("abcdefgh"))
    start_usher(config(listener(front.text), pool(servers.pairs, algorithm=algorithm)))
    assert len(exchange_many(network.client, front, 100)) == 1


def test_a_higher_tier_serves_only_while_no_lower_one_is_ready(bench, network, start_usher, front):
    servers = NameServers(bench, ["primary", "spare"])
    rows = [backend(name, address.text, tier=tier) for tier, (name, address) in enumerate(servers.addresses.items())]
    usher = start_usher(config(listener(front.text), pool(rows, algorithm="round_robin")))
    assert exchange_many(network.client, front, 20) == {"primary": 20}
    usher.post("/api/v1/backends/app/primary", {"state": "drain"})
    eventually(lambda: exchange_once(network.client, front) == "spare", 5)
    assert exchange_many(network.client, front, 20) == {"spare": 20}
    usher.post("/api/v1/backends/app/primary", {"state": "enabled"})
    eventually(lambda: exchange_once(network.client, front) == "primary", 5)
    assert exchange_many(network.client, front, 20) == {"primary": 20}


def test_every_worker_gets_connections(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), workers=2))
    held = [network.client.connect(front) for _ in range(64)]
    try:
        for client in held:
            receive_line(client)
        sessions = usher.metrics().values("usher_worker_sessions", "worker")
        assert len(sessions) == 2 and sum(sessions.values()) == 64 and min(sessions.values()) >= 8, sessions
    finally:
        for client in held:
            client.close()


def test_panic_threshold_uses_backends_that_are_down(bench, network, start_usher, front):
    servers = NameServers(bench, ["a", "b", "c", "d"])
    closed = NameServers(bench, ["probe"])  # the checks go to a port of their own, which can be taken away
    port = closed.addresses["probe"].port
    health = {"type": "tcp", "port": port, "interval": "100ms", "fast_interval": "50ms", "fall": 1, "rise": 1}
    usher = start_usher(config(listener(front.text), pool(servers.pairs, health=health, panic_threshold=0.5, algorithm="round_robin")))
    eventually(lambda: all(row["health"] == "up" for row in usher.backends().values()), 5)
    closed.kill()
    eventually(lambda: all(row["health"] == "down" for row in usher.backends().values()), 5)
    assert set(exchange_many(network.client, front, 8)) == {"a", "b", "c", "d"}
