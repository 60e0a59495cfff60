"""Backends that die and come back: retries before the verdict, silence after it, traffic again when it is up."""
import socket
import time

import pytest

from usher_test import peers
from usher_test.clients import SteadyLoad, ending, exchange_many, exchange_once, receive_line
from usher_test.network import fresh_address
from usher_test.peers import NameServers
from usher_test.toml import config, listener, pool
from usher_test.waiting import SLOWNESS, eventually, observe

QUICK = {"interval": "200ms", "fast_interval": "100ms", "timeout": "500ms", "rise": 2, "fall": 3}


def up(usher):
    return {name.split("/")[1] for name, row in usher.backends().items() if row["health"] == "up"}


@pytest.mark.sanitized
@pytest.mark.parametrize("check", [{"type": "tcp", **QUICK}, {"type": "none"}], ids=["checked", "unchecked"])
def test_a_backend_killed_under_load_costs_no_new_connection(bench, network, start_usher, front, check):
    servers = {name: NameServers(bench, [name]) for name in ("a", "b", "c")}
    usher = start_usher(config(listener(front.text), pool([pair for one in servers.values() for pair in one.pairs], health=check,
                                                          algorithm="round_robin")))
    if check["type"] != "none":
        eventually(lambda: up(usher) == {"a", "b", "c"}, 5)
    with SteadyLoad(network.client, front, per_second=100 / SLOWNESS) as load:
        eventually(lambda: min(load.names[name] for name in "abc") >= 10, 10, "traffic on all three")
        servers["b"].kill()
        dead_since = time.monotonic()
        if check["type"] != "none":
            eventually(lambda: up(usher) == {"a", "c"}, 5, "b is down")
        before = load.succeeded
        eventually(lambda: load.succeeded >= before + 60, 10, "traffic on the other two")
    late = [failure for failure in load.failures if failure.started > dead_since]
    assert not late, f"connections failed that began after the backend had died: {late}"
    failures = usher.metrics().sum("usher_backend_connect_failures_total", pool="app", backend="b", reason="refused")
    assert failures > 0, "no connect to the dead backend was tried, and so none was retried"
    assert usher.metrics().sum("usher_connections_closed_total", outcome="dial_refused") == 0


def test_a_backend_that_comes_back_gets_traffic_again(bench, network, start_usher, front):
    servers = {name: NameServers(bench, [name]) for name in ("a", "b")}
    usher = start_usher(config(listener(front.text), pool([pair for one in servers.values() for pair in one.pairs],
                                                          health={"type": "tcp", **QUICK}, algorithm="round_robin")))
    eventually(lambda: up(usher) == {"a", "b"}, 5)
    servers["a"].kill()
    eventually(lambda: up(usher) == {"b"}, 5)
    tries = usher.metrics().sum("usher_backend_connect_failures_total", backend="a")
    assert exchange_many(network.client, front, 20) == {"b": 20}
    assert usher.metrics().sum("usher_backend_connect_failures_total", backend="a") == tries, "a backend that is down was dialled"
    servers["a"].start()
    eventually(lambda: up(usher) == {"a", "b"}, 5)
    assert exchange_many(network.client, front, 20) == {"a": 10, "b": 10}
    flips = [event for event in usher.get("/api/v1/events")["events"] if event["kind"] == "flip" and event["subject"] == "app/a"]
    assert len(flips) >= 2, flips
    log = [line for line in usher.process.output().splitlines() if "app/a" in line and "3 checks failed" in line]
    assert len(log) == 1, f"the flip is one log line with its reason: {log}"


def test_with_every_backend_down_a_client_is_told_at_once(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs, health={"type": "tcp", **QUICK})))
    eventually(lambda: up(usher) == {"a"}, 5)
    servers.kill()
    eventually(lambda: up(usher) == set(), 5)
    with network.client.connect(front) as client:
        ending(client)
    usher.expect_only(no_backend=1)
    servers.start()
    eventually(lambda: up(usher) == {"a"}, 5)
    assert exchange_once(network.client, front) == "a"


def test_nothing_is_served_before_the_first_check_passed(network, start_usher, front):
    nobody = fresh_address(network.backend)
    slow = {"type": "tcp", "interval": "10s", "fast_interval": "5s", "timeout": "5s"}
    usher = start_usher(config(listener(front.text), pool([nobody.text], health=slow)))
    with network.client.connect(front) as client:
        ending(client)
    usher.expect_only(no_backend=1)


def test_initial_up_serves_before_the_first_check(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    slow = {"type": "tcp", "interval": "60s", "fast_interval": "60s"}
    start_usher(config(listener(front.text), pool(servers.pairs, health=slow, initial="up")))
    assert exchange_once(network.client, front) == "a"


@pytest.mark.sanitized
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_http_checks_follow_the_status_and_the_body(bench, network, start_usher, front, family):
    address = fresh_address(network.backend, family)
    states = bench.path("states")
    states.mkdir()
    (states / "healthy").write_text("all is well\n")
    states.chmod(0o755)
    peers.Nginx(bench, address, http=f"server {{ listen {address.text}; root {states}; }}")
    health = {"type": "http", "path": "/healthy", "host": "app.example.org", "expect_status": "200-299", "expect_body": "well", **QUICK}
    usher = start_usher(config(listener(front.text), pool([address.text], health=health)))
    eventually(lambda: up(usher) == {"b0"}, 5)
    (states / "healthy").write_text("all is lost\n")
    eventually(lambda: up(usher) == set(), 5, "down by its body")
    (states / "healthy").write_text("all is well\n")
    eventually(lambda: up(usher) == {"b0"}, 5)
    (states / "healthy").unlink()
    eventually(lambda: up(usher) == set(), 5, "down by its status")
    assert "404" in usher.backends()["app/b0"]["health_reason"]


def test_a_check_that_gets_no_answer_times_out(bench, network, start_usher, front):
    hole = peers.BlackHole(bench)
    usher = start_usher(config(listener(front.text), pool([hole.address.text], health={"type": "tcp", **QUICK}, initial="up")))
    eventually(lambda: usher.backends()["app/b0"]["health"] == "down", 10)
    assert "timed out" in usher.backends()["app/b0"]["health_reason"]
    hole.close()


def test_checks_do_not_march_in_step(bench, network, start_usher, front):
    servers = NameServers(bench, [f"n{number}" for number in range(20)])
    usher = start_usher(config(listener(front.text), pool(servers.pairs, health={"type": "tcp", "interval": "500ms", "fast_interval": "500ms"})))

    def done():
        return sum(row["checks_passed"] for row in usher.backends().values())
    eventually(lambda: len(up(usher)) == 20, 5)
    rose = set()
    for _ in range(40):  # a march in step would rise by twenty at a time
        before = done()
        observe(0.02)
        rose.add(done() - before)
    assert max(rose) < 15, rose


@pytest.mark.sanitized
def test_a_black_hole_is_given_up_at_connect_timeout_and_the_next_one_serves(bench, network, start_usher, front):
    servers = NameServers(bench, ["alive"])
    hole = peers.BlackHole(bench)
    usher = start_usher(config(listener(front.text), pool([("hole", hole.address.text), *servers.pairs], algorithm="round_robin",
                                                          connect_timeout="300ms")))
    assert exchange_many(network.client, front, 6, at_once=2) == {"alive": 6}
    assert usher.metrics().sum("usher_backend_connect_failures_total", backend="hole", reason="timeout") >= 1
    usher.expect_only(served=6)
    hole.close()


def test_the_client_may_speak_while_the_dial_is_retried(bench, network, start_usher, front):
    servers = NameServers(bench, ["alive"])
    hole = peers.BlackHole(bench)
    start_usher(config(listener(front.text), pool([("hole", hole.address.text), *servers.pairs], algorithm="round_robin", connect_timeout="500ms")))
    for _ in range(2):  # one of them meets the hole first
        with network.client.connect(front) as client:
            client.sendall(b"early words\n")
            client.shutdown(socket.SHUT_WR)
            assert (receive_line(client), receive_line(client)) == ("alive", "early words")
            assert client.recv(1) == b""
    hole.close()
