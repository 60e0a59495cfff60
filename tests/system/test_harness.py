"""The harness itself, with HAProxy in usher's place: what fails here is not usher's fault."""
import socket

import pytest

from usher_test.clients import SteadyLoad, ending, exchange_many, exchange_once, reset_on_close
from usher_test.metrics import Metrics
from usher_test.network import address_of, fresh_address
from usher_test.notify import NotifySocket
from usher_test.peers import BlackHole, HAProxy, NameServers
from usher_test.waiting import NotInTime, eventually, observe


def relay(bench, front, backends):
    servers = "".join(f"  server {name} {address.text}\n" for name, address in backends.items())
    return HAProxy(bench, front, f"listen web\n  bind {front.text}\n  balance roundrobin\n{servers}", place=bench.net.balancer)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_bytes_go_from_the_client_through_the_balancer_to_the_backend(bench, network, family):
    servers = NameServers(bench, ["a", "b"], family=family)
    front = fresh_address(network.balancer, family)
    relay(bench, front, servers.addresses)
    assert {exchange_once(network.client, front) for _ in range(4)} == {"a", "b"}


def test_many_exchanges_are_counted_by_name(bench, network, front):
    servers = NameServers(bench, ["a", "b", "c", "d"])
    relay(bench, front, servers.addresses)
    names = exchange_many(network.client, front, 200)
    assert sorted(names) == ["a", "b", "c", "d"] and sum(names.values()) == 200
    assert all(abs(count - 50) <= 1 for count in names.values())  # HAProxy's own turn began with the readiness check


def test_a_steady_load_sees_a_backend_die(bench, network, front):
    servers = NameServers(bench, ["a"])
    relay(bench, front, servers.addresses)
    with SteadyLoad(network.client, front, per_second=50) as load:
        eventually(lambda: load.succeeded >= 10, 5)
        servers.kill()
        eventually(lambda: load.failures, 5)
    assert load.started == load.succeeded + len(load.failures)


def test_a_reset_and_a_fin_are_told_apart(network):
    listener = network.backend.listen()
    client = network.backend.connect(address_of(listener))
    server, _ = listener.accept()
    reset_on_close(client)
    client.close()
    assert ending(server) == "reset"
    client = network.backend.connect(address_of(listener))
    server, _ = listener.accept()
    client.close()
    assert ending(server) == "fin"
    listener.close()


def test_a_black_hole_neither_accepts_nor_refuses(bench, network):
    hole = BlackHole(bench)
    with pytest.raises(TimeoutError):
        network.backend.connect(hole.address, seconds=0.5)
    hole.close()


def test_waiting_is_bounded():
    with pytest.raises(NotInTime, match="never true"):
        eventually(lambda: False, 0.05, "never true")


def test_metrics_are_parsed_with_their_labels():
    seen = Metrics('# HELP a b\na{x="1",y="q\\"w"} 2\na{x="2",y=""} 3\nplain 4\n')
    assert (seen.sum("a"), seen.sum("a", x="2"), seen.sum("plain")) == (5, 3, 4)
    with pytest.raises(KeyError):
        seen.sum("b")


def test_the_notification_socket_keeps_messages_in_order(bench):
    fake = NotifySocket(bench.path("notify.sock"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.sendto(b"STATUS=one\nREADY=1", fake.path)
        service.sendto(b"STOPPING=1", fake.path)
    assert fake.wait_for("READY", "1", seconds=1)[0] == 0
    assert fake.wait_for("STOPPING", seconds=1)[0] == 1
    fake.close()


def test_a_process_is_ended_with_its_children(bench, network):
    shell = bench.start(["sh", "-c", "sleep 60 & echo $!; wait"], name="shell")
    child = int(eventually(lambda: shell.output().strip(), 5))
    shell.stop()

    def gone():
        try:
            return open(f"/proc/{child}/stat").read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True
    eventually(gone, 5)


def test_cpu_and_memory_of_a_process_are_read(bench):
    busy = bench.start(["sh", "-c", "while :; do :; done"], name="busy")
    before = busy.cpu_seconds()
    observe(0.3)
    assert busy.cpu_seconds() > before
    assert busy.resident_bytes() > 100_000
