"""The end: SIGTERM drains, a second one ends it at once, and nothing is lost that had time to finish."""
import signal
import time

import pytest

from usher_test.clients import SteadyLoad, ending, exchange_once, receive_line, refused
from usher_test.network import fresh_address
from usher_test.peers import NameServers
from usher_test.toml import config, listener, pool
from usher_test.waiting import SLOWNESS, eventually


@pytest.mark.sanitized
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_a_drain_under_load_lets_every_session_end_by_itself(bench, network, start_usher, front, number):
    servers = NameServers(bench, ["a", "b"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), drain_timeout="20s"))
    with network.client.connect(front) as held, SteadyLoad(network.client, front, per_second=100 / SLOWNESS) as load:
        assert receive_line(held) in ("a", "b")
        eventually(lambda: load.succeeded >= 100, 10)
        asked = time.monotonic()
        usher.process.signal(number)
        eventually(lambda: usher.get("/api/v1/status")["phase"] == "draining", 5)
        closed_by = time.monotonic()
        held.sendall(b"still served\n")
        assert receive_line(held) == "still served"
        eventually(lambda: refused(network.client, front), 2)
        load.stop()
        held.close()
        usher.wait_exit(10)
    early = [failure for failure in load.failures if failure.started < asked]
    assert not early, f"sessions that were accepted before the drain failed: {early}"
    # What began between the signal and the closed listener may be refused; it may not hang.
    wrong = [failure for failure in load.failures if failure.started < closed_by and "ECONN" not in failure.what]
    assert not wrong, wrong


@pytest.mark.sanitized
def test_a_session_that_does_not_end_is_closed_at_drain_timeout(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), drain_timeout="1s"))
    with network.client.connect(front) as held:
        assert receive_line(held) == "a"
        asked = time.monotonic()
        usher.terminate()
        assert ending(held) in ("fin", "reset")
        took = time.monotonic() - asked
        usher.wait_exit(5)
    assert 0.9 <= took <= 3 * SLOWNESS, f"closed after {took} s, drain_timeout is 1 s"


def test_a_second_sigterm_ends_it_at_once(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), drain_timeout="10m"))
    with network.client.connect(front) as held:
        assert receive_line(held) == "a"
        usher.terminate()
        eventually(lambda: usher.get("/api/v1/status")["phase"] == "draining", 5)
        usher.terminate()
        usher.wait_exit(3, status=None)


def test_without_sessions_a_drain_takes_no_time(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), drain_timeout="10m"))
    assert exchange_once(network.client, front) == "a"
    usher.stop(3)


def test_readyz_turns_503_while_it_drains_and_healthz_stays_200(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), drain_timeout="20s"))
    assert usher.request("GET", "/readyz")[0] == 200
    with network.client.connect(front) as held:
        assert receive_line(held) == "a"
        usher.terminate()
        eventually(lambda: usher.request("GET", "/readyz")[0] == 503, 5)
        assert usher.request("GET", "/healthz")[0] == 200
    usher.wait_exit(5)


def test_the_laws_hold_while_it_drains(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs), drain_timeout="20s"))
    keeper = network.client.connect(front)
    assert receive_line(keeper) == "a"
    others = [network.client.connect(front) for _ in range(20)]
    for other in others:
        assert receive_line(other) == "a"
    usher.terminate()
    for other in others:
        other.close()
    eventually(lambda: usher.active() == 1, 5)
    seen = usher.metrics()
    assert seen.sum("usher_connections_accepted_total") == 21
    assert seen.sum("usher_connections_closed_total", outcome="served") == 20
    keeper.close()
    usher.wait_exit(5)


def test_an_address_that_is_taken_ends_the_start_with_a_reason(network, make_usher, front):
    taken = network.balancer.listen(port=front.port)
    usher = make_usher(config(listener(front.text), pool(["127.0.0.1:9"])))
    usher.launch()
    usher.wait_exit(10, status=1)
    assert front.text in usher.process.output()
    taken.close()


def test_a_second_usher_does_not_steal_the_first_ones_admin_socket(bench, network, start_usher, make_usher, front):
    servers = NameServers(bench, ["a"])
    first = start_usher(config(listener(front.text), pool(servers.pairs)))
    second = make_usher(config(listener(fresh_address(network.balancer).text), pool(servers.pairs)), admin={"socket": str(first.admin_path)})
    second.launch()
    second.wait_exit(10, status=1)
    assert first.get("/api/v1/status")["phase"] == "serving"
