"""The kernel datapath while the world changes: drain, disable, weight, health, reload. Open flows stay, new ones go where they should."""
import socket

import pytest

from usher_test import peers
from usher_test.clients import SteadyLoad, ending, exchange_many, exchange_once, receive_line
from usher_test.kernel import KernelFront, ip
from usher_test.network import address_of
from usher_test.packets import Program
from usher_test.peers import NameServers
from usher_test.toml import backend, config, listener, pool
from usher_test.waiting import SLOWNESS, eventually, observe

QUICK = {"type": "tcp", "interval": "200ms", "fast_interval": "100ms", "timeout": "500ms", "rise": 2, "fall": 3}
HELD = 20
CLIENT_PORT = 23456  # none that the client takes by itself
ALGORITHMS = pytest.mark.parametrize("keys", [{"algorithm": "two_choices"}, {"algorithm": "maglev", "hash_key": "source_port"}],
                                     ids=["two_choices", "maglev"])


class Held:
    """Connections that stay open: what each reaches, and that it goes on."""

    def __init__(self, network, front, count=HELD):
        self.clients = []
        for _ in range(count):
            client = network.client.connect(front)
            self.clients.append((receive_line(client), client))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _, client in self.clients:
            client.close()

    @property
    def names(self):
        return {name for name, _ in self.clients}

    def go_on(self, of=None):
        for number, (name, client) in enumerate(self.clients):
            if of is None or name == of:
                client.sendall(b"still here %d\n" % number)
                assert receive_line(client) == f"still here {number}"


@pytest.fixture
def servers(bench, network):
    peers.require_separate(network)
    return {name: NameServers(bench, [name]) for name in ("a", "b")}


def pairs(servers):
    return [pair for one in servers.values() for pair in one.pairs]


@pytest.fixture
def two(bench, network, start_usher, servers):
    return lambda **options: KernelFront(bench, network, start_usher, pairs(servers), **options)


def up(usher):
    return {name.split("/")[1] for name, row in usher.backends().items() if row["health"] == "up"}


def goes_to(network, it, names):
    """Waits until new connections go to these and no others: a verdict of the checks reaches the kernel a moment after the API."""
    def check():
        try:
            return set(exchange_many(network.client, it.front, 30)) == names
        except OSError:
            return False  # to the one that has just died
    eventually(check, 10, f"new connections go to {names}")


@ALGORITHMS
@pytest.mark.parametrize("words, back", [(["drain", "app/a"], ["enable", "app/a"]), (["weight", "app/a", "0"], ["weight", "app/a", "100"])],
                         ids=["drain", "weight_0"])
def test_a_backend_that_is_taken_out_keeps_its_flows(network, two, words, back, keys):
    it = two(**keys)
    with Held(network, it.front) as held:
        assert held.names == {"a", "b"}
        it.usher.command(*words)
        assert exchange_many(network.client, it.front, 30) == {"b": 30}
        held.go_on()
        it.usher.command(*back)
        assert set(exchange_many(network.client, it.front, 60)) == {"a", "b"}
        held.go_on()
        it.assert_kernel_served(HELD + 90)


def test_a_disabled_backend_loses_its_flows(network, two):
    it = two()
    with Held(network, it.front) as held:
        it.usher.command("disable", "app/a")
        assert exchange_many(network.client, it.front, 30) == {"b": 30}
        for name, client in held.clients:
            if name == "a":
                client.sendall(b"anyone?\n")
                assert ending(client) == "reset"
        held.go_on("b")
        it.usher.command("enable", "app/a")
        assert set(exchange_many(network.client, it.front, 60)) == {"a", "b"}
        it.assert_kernel_served(HELD + 90)


@ALGORITHMS
def test_weights_change_the_shares(network, two, keys):
    it = two(**keys)
    with Held(network, it.front) as held:
        it.usher.command("weight", "app/a", "900")
        with Held(network, it.front, 100) as more:
            count = sum(name == "a" for name, _ in more.clients)
            assert count >= 70, f"{count} of 100 went to the one that weighs 9 times as much"
            held.go_on()
    it.assert_kernel_served(120)


def test_a_health_flip_moves_new_flows_and_leaves_open_ones(bench, network, servers, two):
    it = two(health=QUICK)
    eventually(lambda: up(it.usher) == {"a", "b"}, 10)
    with Held(network, it.front) as held:
        servers["a"].kill()
        eventually(lambda: up(it.usher) == {"b"}, 10)
        goes_to(network, it, {"b"})
        held.go_on("b")
        servers["a"].start()
        eventually(lambda: up(it.usher) == {"a", "b"}, 10)
        goes_to(network, it, {"a", "b"})
        held.go_on("b")
    assert it.accepted() == 0


def test_a_health_flip_by_mistake_costs_no_open_flow(bench, network, two):
    """The check is wrong, the backends aren't: what they serve goes on."""
    checked = NameServers(bench, ["check"])
    it = two(health={**QUICK, "port": checked.addresses["check"].port})
    eventually(lambda: up(it.usher) == {"a", "b"}, 10)
    with Held(network, it.front) as held:
        checked.kill()
        eventually(lambda: up(it.usher) == set(), 10)
        held.go_on()
        checked.start()
        eventually(lambda: up(it.usher) == {"a", "b"}, 10)
        held.go_on()
    it.assert_kernel_served(HELD)


def test_reloads_under_load_cost_no_connection(bench, network, servers, two):
    it = two()
    with Held(network, it.front) as held, SteadyLoad(network.client, it.front, per_second=200 / SLOWNESS) as load:
        for wanted in (["b"], ["a", "b"], ["a"], ["a", "b"], ["b"], ["b", "a"]):
            before = load.succeeded
            it.usher.reload(it.config([pair for name in wanted for pair in servers[name].pairs]))
            eventually(lambda: load.succeeded >= before + 20, 10, "connections go on")
            assert set(exchange_many(network.client, it.front, 20)) <= set(wanted)
            held.go_on()
        load.stop()
        assert not load.failures, load.failures
        it.assert_kernel_served(HELD + 120 + load.succeeded)


def test_a_listener_moves_to_the_proxy_and_back_by_reload(network, servers, two):
    it = two()
    with Held(network, it.front) as held:
        it.listener_keys["datapath"] = "proxy"
        it.usher.reload(it.config(pairs(servers)))
        assert it.choice()[0] == "proxy"
        with Held(network, it.front) as proxied:
            assert it.accepted() == HELD
            held.go_on()
            it.listener_keys["datapath"] = "kernel"
            it.usher.reload(it.config(pairs(servers)))
            assert it.choice()[0] == "kernel"
            assert set(exchange_many(network.client, it.front, 60)) == {"a", "b"}
            held.go_on()
            proxied.go_on()
        assert it.accepted() == HELD
        held.go_on()
    it.usher.expect_only(served=HELD)


def test_what_the_proxy_served_last_keeps_no_client_from_the_kernel(bench, network, start_usher, front):
    """A connection that the proxy ended waits in the stack for stray packets (TIME_WAIT); the client may use its port again."""
    peers.require_separate(network)
    source = (network.client.address(socket.AF_INET), CLIENT_PORT)
    with network.backend.listen() as server:
        def served_by(datapath):
            return config(listener(front.text, datapath=datapath), pool([("a", address_of(server).text)], algorithm="two_choices"))

        usher = start_usher(served_by("proxy"))
        with network.client.connect(front, source=source) as client:
            server.accept()[0].close()
            assert client.recv(1) == b"", "the backend closes first, and so does usher"
        shown = ["ss", "-tan", "src", f"{front.ip}:{front.port}", "dst", f"{source[0]}:{source[1]}"]
        eventually(lambda: "TIME-WAIT" in bench.run(shown, place=network.balancer).stdout, what="it waits")
        usher.reload(served_by("kernel"))
        usher.descriptors_at_start = usher.own_descriptors()  # the programs and their maps
        with network.client.connect(front, source=source) as client, server.accept()[0] as accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
    usher.expect_only(served=1)  # the second one by the kernel


def test_a_listener_that_leaves_lets_its_flows_be(network, servers, two):
    it = two()
    with Held(network, it.front) as held:
        old, it.front = it.front, type(it.front)(it.front.ip, it.front.port + 1)
        it.usher.reload(it.config(pairs(servers)))
        held.go_on()
        with pytest.raises(ConnectionRefusedError):
            network.client.connect(old)
        assert exchange_once(network.client, it.front) in ("a", "b")
    assert it.accepted() == 0


def test_a_backend_that_leaves_the_file_keeps_its_flows(network, servers, two):
    it = two()
    with Held(network, it.front) as held:
        it.usher.reload(it.config(servers["b"].pairs))
        assert exchange_many(network.client, it.front, 30) == {"b": 30}
        observe(2.5)  # more than a sweep
        held.go_on()
        it.usher.reload(it.config(pairs(servers)))
        assert set(exchange_many(network.client, it.front, 60)) == {"a", "b"}
        held.go_on()
    it.assert_kernel_served(HELD + 90)


def removed(usher):
    return {row["name"]: row["kernel"]["flows"] for row in usher.get("/api/v1/backends")["backends"] if row["removed"]}


@pytest.mark.seconds(90)
def test_a_removed_backend_is_listed_until_its_last_flow_ends(network, servers, two):
    it = two(connect_timeout="1s", connect_attempts=1)
    with Held(network, it.front) as held:
        of_a = sum(name == "a" for name, _ in held.clients)
        changes = it.usher.reload(it.config(servers["b"].pairs))["changes"]
        assert f"backend app/a: removed; its {of_a} kernel flows go on" in changes
        observe(10 + 1 + 2)  # longer than one without flows is kept: workers, and dials under way, may still know it
        assert removed(it.usher) == {"a": of_a}
        row, = (line for line in it.usher.command("backends").stdout.splitlines() if line.startswith("app/a "))
        assert "removed" in row and f" {of_a} " in row, row
        held.go_on()
    eventually(lambda: removed(it.usher) == {}, 10, "nobody is listed without a flow")


def test_a_backend_by_another_name_takes_its_flows_over(network, servers, two):
    """A flow is a pool's and an address's: it isn't counted under both names."""
    it = two()
    with Held(network, it.front) as held:
        of_a = sum(name == "a" for name, _ in held.clients)
        it.usher.reload(it.config([("new", servers["a"].addresses["a"].text), *servers["b"].pairs]))
        assert it.usher.backends()["app/new"]["kernel"]["flows"] == of_a
        assert removed(it.usher).get("a", 0) == 0
        held.go_on()


def test_an_interface_that_is_taken_out_is_detached_when_no_flow_is_left(bench, network, servers, two):
    ip(network.balancer, "link", "add", "to3", "type", "veth", "peer", "name", "to3-far")
    try:
        ip(network.balancer, "link", "set", "to3", "up")
        it = two(listener_keys={"interfaces": ["to1", "to2", "to3"]})
        interfaces = lambda: {one.device for one in Program(bench).hooks}
        with Held(network, it.front, 2) as held:
            it.listener_keys["interfaces"] = ["to1", "to2"]
            it.usher.reload(it.config(pairs(servers)))
            assert it.choice()[0] == "kernel"
            observe(2.5)  # more than a sweep
            assert interfaces() == {"to1", "to2", "to3"}, "whose packets come in where isn't known"
            held.go_on()
        eventually(lambda: interfaces() == {"to1", "to2"}, 10)
        assert exchange_once(network.client, it.front) in ("a", "b")
    finally:
        ip(network.balancer, "link", "delete", "to3")


def test_with_every_backend_down_the_proxy_answers(network, servers, two):
    it = two(health=QUICK)
    eventually(lambda: up(it.usher) == {"a", "b"}, 10)
    for one in servers.values():
        one.kill()
    eventually(lambda: up(it.usher) == set(), 10)

    def answered_by_the_proxy():
        try:
            with network.client.connect(it.front) as client:
                return ending(client) in ("fin", "reset") and it.accepted() > 0
        except ConnectionRefusedError:
            return False  # by a backend's host: the kernel hasn't heard yet
    eventually(answered_by_the_proxy, 10)
    it.usher.expect_only(no_backend=1)
    assert it.verdicts()["no_backend"] > 0
    for one in servers.values():
        one.start()

    def served_by_the_kernel():
        before = it.accepted()  # the proxy serves, or refuses, until the kernel has heard of both
        try:
            return set(exchange_many(network.client, it.front, 60)) == {"a", "b"} and it.accepted() == before
        except OSError:
            return False
    eventually(served_by_the_kernel, 10)


def test_tiers_are_kept(bench, network, start_usher, servers):
    rows = [backend("a", servers["a"].addresses["a"].text), backend("b", servers["b"].addresses["b"].text, tier=1)]
    it = KernelFront(bench, network, start_usher, rows, health=QUICK)
    eventually(lambda: up(it.usher) == {"a", "b"}, 10)
    assert exchange_many(network.client, it.front, 30) == {"a": 30}
    servers["a"].kill()
    eventually(lambda: up(it.usher) == {"b"}, 10)
    goes_to(network, it, {"b"})
    it.assert_kernel_served(60)


def test_a_drain_ends_when_the_last_flow_does(network, two):
    it = two(global_keys={"drain_timeout": "20s"})
    with Held(network, it.front) as held:
        it.usher.terminate()
        eventually(lambda: it.usher.get("/api/v1/status")["phase"] == "draining", 5)
        held.go_on()
        observe(1.0)
        assert it.usher.process.running(), "it left while the kernel still had flows"
        held.go_on()
    it.usher.wait_exit(15)
