"""Reload: a changed file is applied without losing a connection; a bad one changes nothing and says why."""
import itertools
import random
import socket
import time

import pytest

from usher_test.clients import SteadyLoad, ending, exchange_many, exchange_once, receive_exactly, receive_line, refused
from usher_test.network import address_of, fresh_address
from usher_test.peers import NameServers
from usher_test.toml import backend, config, listener, pool
from usher_test.waiting import SLOWNESS, eventually, observe

RELOADS = 30
PER_SECOND = 200


def reloads(usher, result="applied"):
    return usher.metrics().sum("usher_config_reloads_total", result=result)


def hang_up(usher, result="applied"):
    """SIGHUP, and waits until it is counted."""
    before = reloads(usher, result)
    usher.hangup()
    eventually(lambda: reloads(usher, result) == before + 1, 5, f"one more reload {result}")


@pytest.mark.sanitized
@pytest.mark.seconds(120)
def test_a_reload_a_second_under_load_fails_no_connection(bench, network, start_usher, front):
    """Backends come and go, weights and algorithms change, listeners come and go."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    servers = NameServers(bench, list("abcdef"))
    other = fresh_address(network.balancer)
    other_pool = pool(servers.pairs, name="other")

    def changed(number):
        chosen = dice.sample(sorted(servers.addresses), dice.randint(1, 6))
        rows = [backend(name, servers.addresses[name].text, weight=dice.randint(1, 200)) for name in chosen]
        algorithm = dice.choice(["round_robin", "random", "two_choices", "least_connections", "least_latency", "source_hash", "maglev"])
        listeners = [listener(front.text)] + ([listener(other.text, name="other", pool="other")] if number % 2 else [])
        return config(listeners, [pool(rows, algorithm=algorithm), other_pool])

    usher = start_usher(config(listener(front.text), [pool(servers.pairs), other_pool]))
    started = time.monotonic()
    with SteadyLoad(network.client, front, per_second=PER_SECOND / SLOWNESS) as load:
        for number in range(RELOADS):
            usher.write(changed(number))
            hang_up(usher)
            observe(max(0.0, started + number + 1 - time.monotonic()))
        usher.write(config(listener(front.text), [pool(servers.pairs), other_pool]))
        hang_up(usher)
    assert not load.failures, f"{len(load.failures)} of {load.started} failed: {load.failures[:5]}"
    assert load.succeeded >= RELOADS * PER_SECOND / SLOWNESS * 0.8
    usher.expect_only(served=load.succeeded)


def test_a_connection_lives_on_when_its_backend_leaves_the_file(bench, network, start_usher, front):
    servers = NameServers(bench, ["stays", "goes"])
    usher = start_usher(config(listener(front.text), pool([("goes", servers.addresses["goes"].text)])))
    with network.client.connect(front) as client:
        assert receive_line(client) == "goes"
        usher.reload(config(listener(front.text), pool([("stays", servers.addresses["stays"].text)])))
        assert exchange_many(network.client, front, 5) == {"stays": 5}
        client.sendall(b"still here\n")
        assert receive_line(client) == "still here"
    usher.expect_only(served=6)


def test_a_connection_lives_on_when_its_listener_leaves_the_file(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    second = fresh_address(network.balancer)
    both = config([listener(front.text), listener(second.text, name="second")], pool(servers.pairs))
    usher = start_usher(both)
    with network.client.connect(second) as client:
        assert receive_line(client) == "a"
        usher.reload(config(listener(front.text), pool(servers.pairs)))
        eventually(lambda: refused(network.client, second), 2)  # its queue is emptied before it closes
        client.sendall(b"still here\n")
        assert receive_line(client) == "still here"
    usher.reload(both)
    assert exchange_once(network.client, second) == "a"
    assert exchange_once(network.client, front) == "a"


def test_a_listener_that_is_added_listens_when_reload_answers(bench, network, start_usher, front, front6):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)))
    assert refused(network.client, front6)
    answer = usher.reload(config([listener(front.text), listener(front6.text, name="six")], pool(servers.pairs)))
    assert answer["applied"] and answer["changes"]
    assert exchange_once(network.client, front6) == "a"
    usher.reload(config(listener(front.text), pool(servers.pairs)))


def test_a_bind_that_moves_takes_the_new_address_and_leaves_the_old_one(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    moved = fresh_address(network.balancer)
    usher = start_usher(config(listener(front.text), pool(servers.pairs)))
    usher.reload(config(listener(moved.text), pool(servers.pairs)))
    assert exchange_once(network.client, moved) == "a"
    eventually(lambda: refused(network.client, front), 2)


BAD_FILES = {
    "syntax": 'this is = = not toml',
    "unknown key": '[global]\nworkerz = 2\n',
    "unknown pool": '[[listener]]\nname = "web"\nbind = ["127.0.0.1:1"]\npool = "nobody"\n',
    "empty": "",
}


@pytest.mark.parametrize("what", list(BAD_FILES))
def test_a_bad_file_changes_nothing_and_says_why(bench, network, start_usher, front, what):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)))
    before = usher.get("/api/v1/config")["text"]
    usher.write(BAD_FILES[what])
    hang_up(usher, "refused")
    assert exchange_once(network.client, front) == "a"
    assert usher.get("/api/v1/config")["text"] == before
    assert usher.get("/api/v1/status")["last_reload_error"]
    assert str(usher.config_path) in usher.process.output()
    answer = usher.post("/api/v1/reload", status=409)
    assert not answer["applied"] and answer["problems"], answer
    usher.reload(config(listener(front.text), pool(servers.pairs)))
    assert not usher.get("/api/v1/status")["last_reload_error"]


def test_an_address_that_is_taken_refuses_the_reload_whole(bench, network, start_usher, front):
    servers = NameServers(bench, ["a", "b"])
    taken = network.balancer.listen()
    usher = start_usher(config(listener(front.text), pool([("a", servers.addresses["a"].text)])))
    usher.write(config([listener(front.text), listener(address_of(taken).text, name="second")], pool([("b", servers.addresses["b"].text)])))
    answer = usher.post("/api/v1/reload", status=409)
    assert any(address_of(taken).text in problem for problem in answer["problems"] + [answer.get("error", "")]), answer
    assert exchange_many(network.client, front, 5) == {"a": 5}
    taken.close()


def test_counters_and_health_survive_a_reload(bench, network, start_usher, front):
    servers = NameServers(bench, ["a", "b"])
    slow = {"type": "tcp", "interval": "30s", "fast_interval": "100ms"}
    usher = start_usher(config(listener(front.text), pool(servers.pairs, health=slow)))
    eventually(lambda: all(row["health"] == "up" for row in usher.backends().values()), 5)
    exchange_many(network.client, front, 10)
    before = {name: row["connections"] for name, row in usher.backends().items()}
    usher.reload(config(listener(front.text), pool(servers.pairs, health=slow, algorithm="round_robin")))
    assert all(row["health"] == "up" for row in usher.backends().values())
    assert {name: row["connections"] for name, row in usher.backends().items()} == before
    exchange_many(network.client, front, 10)


def test_operator_intent_survives_a_reload(bench, network, start_usher, front):
    servers = NameServers(bench, ["a", "b"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)))
    usher.post("/api/v1/backends/app/a", {"state": "drain"})
    usher.reload(config(listener(front.text), pool(servers.pairs, algorithm="round_robin")))
    assert usher.backends()["app/a"]["intent"] == "drain"
    assert exchange_many(network.client, front, 10) == {"b": 10}


@pytest.mark.sanitized
def test_reloads_in_quick_succession_leave_no_descriptor_behind(bench, network, start_usher, front):
    servers = NameServers(bench, ["a", "b"])
    second = fresh_address(network.balancer)
    small = config(listener(front.text), pool(servers.pairs))
    large = config([listener(front.text), listener(second.text, name="second")], pool(servers.pairs))
    usher = start_usher(small)
    for wanted in itertools.islice(itertools.cycle((large, small)), 40):
        usher.reload(wanted)
        assert exchange_once(network.client, front) in ("a", "b")


def test_a_new_limit_and_a_new_timeout_hold_for_new_connections(network, start_usher, front):
    held = network.backend.listen()
    usher = start_usher(config(listener(front.text), pool([address_of(held).text])))
    old = network.client.connect(front)
    old_backend, _ = held.accept()
    usher.reload(config(listener(front.text), pool([address_of(held).text], idle_timeout="500ms")))
    with network.client.connect(front) as new:
        new_backend, _ = held.accept()
        assert ending(new) in ("fin", "reset")
        new_backend.close()
    old.sendall(b"x")
    assert receive_exactly(old_backend, 1) == b"x"
    for sock in (old, old_backend, held):
        sock.close()
    assert usher.outcomes().get("idle") == 1


def test_a_connection_that_waits_in_the_queue_of_a_removed_listener_is_served_or_refused_in_time(bench, network, start_usher, front):
    """The kernel resets what waits in a closed listener's queue: usher must take it out first."""
    servers = NameServers(bench, ["a"])
    second = fresh_address(network.balancer)
    both = config([listener(front.text), listener(second.text, name="second")], pool(servers.pairs))
    usher = start_usher(both)
    failures = []
    for _ in range(5):
        clients = [network.client.new_socket(socket.AF_INET) for _ in range(40)]
        for client in clients:
            client.settimeout(5 * SLOWNESS)
            client.connect(tuple(second))
        usher.reload(config(listener(front.text), pool(servers.pairs)))
        for client in clients:
            try:
                assert receive_line(client) == "a"
            except (OSError, AssertionError) as lost:
                failures.append(repr(lost))
            client.close()
        usher.reload(both)
    assert not failures, f"{len(failures)} of 200 connections were lost: {failures[:3]}"
    usher.reload(both)
