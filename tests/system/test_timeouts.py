"""Sessions that time ends, each with the outcome that says so, and none a moment early."""
import socket
import time

import pytest

from usher_test import peers
from usher_test.clients import ending, receive_exactly, receive_line
from usher_test.network import address_of, fresh_address
from usher_test.toml import config, listener, pool
from usher_test.waiting import SLOWNESS, eventually, observe


@pytest.fixture
def pair(network, start_usher, front):
    """(usher, client, backend): the two ends of one session."""
    def make(**pool_keys):
        listening = network.backend.listen()
        usher = start_usher(config(listener(front.text), pool([address_of(listening).text], **pool_keys)))
        client = network.client.connect(front)
        backend, _ = listening.accept()
        backend.settimeout(10 * SLOWNESS)
        opened.extend((listening, client, backend))
        return usher, client, backend
    opened = []
    yield make
    for sock in opened:
        sock.close()


def until_ended(sock, started):
    assert ending(sock) in ("fin", "reset")
    return time.monotonic() - started


@pytest.mark.sanitized
def test_a_session_that_idles_is_closed_as_idle(pair):
    usher, client, backend = pair(idle_timeout="1s")
    client.sendall(b"x")
    assert receive_exactly(backend, 1) == b"x"
    took = until_ended(client, time.monotonic())
    assert 0.9 <= took <= 2.5 * SLOWNESS, took
    assert ending(backend) in ("fin", "reset")
    usher.expect_only(idle=1)


def test_bytes_in_either_direction_keep_a_session_from_idling(pair):
    usher, client, backend = pair(idle_timeout="1s")
    started = time.monotonic()
    while time.monotonic() - started < 2.5:
        backend.sendall(b"x")
        assert receive_exactly(client, 1) == b"x"
        observe(0.2)
    client.sendall(b"y")
    assert receive_exactly(backend, 1) == b"y"
    client.close()
    backend.close()
    usher.expect_only(served=1)


@pytest.mark.sanitized
@pytest.mark.parametrize("first", ["client", "backend"])
def test_a_half_closed_session_is_closed_at_half_close_timeout(pair, first):
    usher, client, backend = pair(half_close_timeout="1s")
    one, other = (client, backend) if first == "client" else (backend, client)
    one.shutdown(socket.SHUT_WR)
    assert other.recv(1) == b""
    took = until_ended(one, time.monotonic())
    assert 0.9 <= took <= 2.5 * SLOWNESS, took
    usher.expect_only(idle=1)


def test_a_half_closed_session_that_moves_bytes_goes_on(pair):
    usher, client, backend = pair(half_close_timeout="1s")
    client.shutdown(socket.SHUT_WR)
    started = time.monotonic()
    while time.monotonic() - started < 2.5:
        backend.sendall(b"x")
        assert receive_exactly(client, 1) == b"x"
        observe(0.2)
    backend.close()
    usher.expect_only(served=1)


@pytest.mark.sanitized
def test_a_session_is_closed_at_its_max_lifetime_even_when_busy(pair):
    usher, client, backend = pair(max_lifetime="1s")
    started = time.monotonic()
    try:
        while time.monotonic() - started < 5 * SLOWNESS:
            client.sendall(b"x")
            if backend.recv(1) == b"":
                break
    except ConnectionError:
        pass
    took = time.monotonic() - started
    assert 0.85 <= took <= 2.5 * SLOWNESS, took  # 1 s, give or take a tenth
    usher.expect_only(lifetime=1)


@pytest.mark.sanitized
def test_a_backend_that_refuses_ends_as_dial_refused(network, start_usher, front):
    nobody = fresh_address(network.backend)
    usher = start_usher(config(listener(front.text), pool([nobody.text])))
    with network.client.connect(front) as client:
        ending(client)
    usher.expect_only(dial_refused=1)
    assert usher.metrics().sum("usher_backend_connect_failures_total", reason="refused") >= 1


@pytest.mark.sanitized
def test_a_backend_that_does_not_answer_ends_as_dial_timeout(bench, network, start_usher, front):
    hole = peers.BlackHole(bench)
    usher = start_usher(config(listener(front.text), pool([hole.address.text], connect_timeout="500ms", connect_attempts=1)))
    started = time.monotonic()
    with network.client.connect(front) as client:
        ending(client)
    took = time.monotonic() - started
    assert 0.4 <= took <= 2 * SLOWNESS, took
    usher.expect_only(dial_timeout=1)
    hole.close()


def test_connect_attempts_bounds_the_candidates_tried(network, start_usher, front):
    nobody = [fresh_address(network.backend).text for _ in range(6)]
    usher = start_usher(config(listener(front.text), pool(nobody, connect_attempts=4)))
    with network.client.connect(front) as client:
        ending(client)
    usher.expect_only(dial_refused=1)
    assert usher.metrics().sum("usher_backend_connect_failures_total") == 4


@pytest.mark.sanitized
def test_a_client_that_leaves_while_its_backend_is_dialled(bench, network, start_usher, front):
    hole = peers.BlackHole(bench)
    usher = start_usher(config(listener(front.text), pool([hole.address.text], connect_timeout="2s", connect_attempts=1)))
    for _ in range(10):
        network.client.connect(front).close()
    eventually(lambda: sum(usher.outcomes().values()) == 10, 10)
    assert set(usher.outcomes()) <= {"client_gone", "dial_timeout"}
    hole.close()


def test_without_a_backend_of_weight_the_outcome_is_no_backend(network, start_usher, front):
    rows = [{"name": "a", "address": fresh_address(network.backend).text, "weight": 0}]
    usher = start_usher(config(listener(front.text), pool(rows)))
    with network.client.connect(front) as client:
        ending(client)
    usher.expect_only(no_backend=1)


def test_many_deadlines_come_true_together(network, bench, start_usher, front):
    servers = peers.NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs, idle_timeout="1s")))
    held = [network.client.connect(front) for _ in range(300)]
    for client in held:
        assert receive_line(client) == "a"
    for client in held:
        assert ending(client) in ("fin", "reset")
        client.close()
    usher.expect_only(idle=300)
