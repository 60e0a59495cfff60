"""The kernel datapath without root: as the installed service with its drop-in, and with global.user; and what is said where it can't be."""
import contextlib
import json
import re

import pytest

from usher_test.clients import exchange_many, exchange_once, receive_line
from usher_test.kernel import ip
from usher_test.network import Address, free_port
from usher_test.peers import NameServers, needs, require_separate
from usher_test.toml import config, listener, pool
from usher_test.unit import (KERNEL_DROP_IN, UNIT, USER, Sealed, as_the_service, binary_for_all, capability_bits, effective, open_to, settings,
                             words)
from usher_test.usher import BINARY
from usher_test.waiting import eventually, observe

RESERVED_PORTS = "40000-49999"


@pytest.fixture
def servers(bench, network):
    require_separate(network)
    needs("bpftool")
    before = network.balancer.sysctl("net.ipv4.ip_local_reserved_ports")
    network.balancer.sysctl("net.ipv4.ip_local_reserved_ports", RESERVED_PORTS)
    yield NameServers(bench, ["a", "b"])
    network.balancer.sysctl("net.ipv4.ip_local_reserved_ports", before)


def web(network, name="web", port=None, **keys):
    front = Address(network.balancer.ip4, port or free_port(network.balancer))
    return front, listener(front.text, name=name, **{"datapath": "kernel", **keys})


def served_by(usher, datapath, name="web"):
    def check():
        row, = (one for one in usher.get("/api/v1/listeners")["listeners"] if one["name"] == name)
        assert row["datapath"] == datapath, row
        return row
    return eventually(check, 5)


def lines(usher, words_):
    return [line for line in usher.process.output().splitlines() if words_ in line]


def pin_folder(bench, usher):
    said = bench.run([BINARY, "run", "--cleanup", "-c", usher.config_path])
    return re.search(r"/sys/fs/bpf/usher\S*", said.stdout).group()


def start_again(usher):
    """After a kill: what it said of its readiness was said of the one that is gone."""
    usher.admin_path.unlink()
    usher.launch()

    def serving():
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            return usher.get("/api/v1/status")["phase"] == "serving"
    usher.process.wait_until(serving, 15, "serving")


def attached(bench, network):
    shown = json.loads(bench.run(["bpftool", "-j", "net", "show"], place=network.balancer).stdout)
    return {one["devname"] for one in shown[0]["tc"] if one["name"] == "kernel_path"}


def test_the_service_with_its_drop_in_serves_pins_and_leaves_nothing(bench, network, servers, make_usher):
    front, one = web(network)
    sealed = Sealed(bench)
    usher = make_usher(config(one, pool(servers.pairs, algorithm="two_choices")), binary=binary_for_all(bench),
                       prefix=[*sealed.prefix, *as_the_service(UNIT, KERNEL_DROP_IN)])
    folder = pin_folder(bench, usher)
    open_to(bench)
    sealed.before_start(folder)
    sealed.protect(folder)
    usher.start()
    served_by(usher, "kernel")
    assert set(effective(usher.process).values()) == {capability_bits(words(settings(UNIT, KERNEL_DROP_IN), "AmbientCapabilities"))}
    held = network.client.connect(front)
    name = receive_line(held)
    assert exchange_many(network.client, front, 20)
    assert usher.active() == 0 and usher.metrics().sum("usher_connections_accepted_total") == 0
    assert not lines(usher, "won't outlive"), usher.process.output()
    pinned = sealed.pinned(folder)
    assert "path_flows" in pinned and set(pinned.values()) == {65534}, pinned
    # A crash: the service manager starts it again.
    usher.process.kill()
    sealed.before_start(folder)
    start_again(usher)
    eventually(lambda: lines(usher, "took up what an earlier usher left"), 5)
    held.sendall(b"still here\n")
    assert receive_line(held) == "still here" and name in ("a", "b")
    held.close()
    usher.stop()
    assert attached(bench, network) == set()
    assert sealed.pinned(folder) == {}
    assert not lines(usher, "can't remove"), usher.process.output()


def test_what_the_user_of_the_service_left_the_next_start_does_not_take_for_a_kernel_datapath(bench, network, servers, make_usher):
    """The folder stays, empty: a proxy that starts beside it loads nothing."""
    front, one = web(network, datapath="proxy")
    sealed = Sealed(bench)
    usher = make_usher(config(one, pool(servers.pairs)), binary=binary_for_all(bench), prefix=[*sealed.prefix, *as_the_service(UNIT, KERNEL_DROP_IN)])
    open_to(bench)
    sealed.before_start(pin_folder(bench, usher))
    usher.start()
    assert exchange_once(network.client, front) in ("a", "b")
    assert not lines(usher, "kernel datapath") and not lines(usher, "nothing was attached"), usher.process.output()


def test_the_service_as_installed_warns_that_the_proxy_serves_and_names_the_drop_in(bench, network, servers, make_usher):
    front, one = web(network)
    usher = make_usher(config(one, pool(servers.pairs, algorithm="two_choices")), binary=binary_for_all(bench), prefix=as_the_service(UNIT))
    open_to(bench)
    usher.start()
    row = served_by(usher, "proxy")
    assert "refused" in row["datapath_reason"], row
    assert exchange_once(network.client, front) in ("a", "b")
    observe(2.5)  # some turns of the control thread
    said = lines(usher, "listener web: the proxy serves it")
    assert len(said) == 1 and "warning" in said[0] and "usher.service.d/kernel.conf" in said[0], said
    events = [event for event in usher.get("/api/v1/events")["events"] if "listener web" in event["message"]]
    assert [event["kind"] for event in events] == ["warning"], events


@pytest.mark.parametrize("workers", [1, 2])
def test_global_user_keeps_the_kernel_datapath_through_reloads_and_takes_it_off_at_the_end(bench, network, servers, make_usher, workers):
    front, one = web(network)
    pools = pool(servers.pairs, algorithm="two_choices")
    sealed = Sealed(bench)
    usher = make_usher(config(one, pools, workers=workers, user=USER), prefix=sealed.prefix)
    folder = pin_folder(bench, usher)
    usher.start()
    served_by(usher, "kernel")
    kept = capability_bits(["CAP_NET_BIND_SERVICE", "CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"])
    threads = effective(usher.process)
    assert threads.pop(usher.process.pid) == kept, "the control thread's"
    assert set(threads.values()) == {0}, "every other thread has given up all"
    assert exchange_many(network.client, front, 20)
    # A reload that adds listeners: one of the kernel's, and one whose port only a privileged thread may bind.
    second, two = web(network, name="second")
    low, three = web(network, name="low", port=free_low_port(network.balancer), datapath="proxy")
    usher.reload(config([one, two, three], pools, workers=workers, user=USER))
    served_by(usher, "kernel", "second")
    assert exchange_many(network.client, second, 20) and exchange_once(network.client, low) in ("a", "b")
    assert usher.metrics().sum("usher_connections_accepted_total") == 1, "the low port's"
    assert not lines(usher, "left to the kernel's hash"), usher.process.output()
    # An interface that comes up later is taken, too.
    with another_interface(network, "to3"):
        eventually(lambda: attached(bench, network) == {"to1", "to2", "to3"}, 5)
    pinned = sealed.pinned(folder)
    assert "path_flows" in pinned and set(pinned.values()) == {65534}, pinned
    assert sealed.mode() == 0o701, "others may pass through, no more"
    usher.process.kill()
    start_again(usher)  # as root again, then as the user that the pins belong to
    eventually(lambda: lines(usher, "took up what an earlier usher left"), 5)
    assert exchange_once(network.client, second) in ("a", "b")
    usher.stop()
    assert attached(bench, network) == set()
    assert sealed.pinned(folder) == {}


def test_global_user_with_proxies_alone_gives_up_what_only_the_kernel_datapath_needs(bench, network, servers, make_usher):
    front, one = web(network, datapath="proxy")
    usher = make_usher(config(one, pool(servers.pairs, algorithm="two_choices"), user=USER))
    usher.start()
    assert effective(usher.process)[usher.process.pid] == capability_bits(["CAP_NET_BIND_SERVICE", "CAP_BPF"])
    one["datapath"] = "kernel"
    usher.reload(config(one, pool(servers.pairs, algorithm="two_choices"), user=USER))
    served_by(usher, "proxy")
    said = lines(usher, "listener web: the proxy serves it")
    assert len(said) == 1 and "warning" in said[0] and "restart" in said[0], said
    assert exchange_once(network.client, front) in ("a", "b")


def free_low_port(place):
    for port in range(700, 1000):
        with place.new_socket() as probe:
            try:
                probe.bind((place.ip4, port))
                return port
            except OSError:
                continue
    raise AssertionError("no port below 1024 is free")


class another_interface:
    """An interface of the balancer's that leads nowhere, for as long as the block lasts."""

    def __init__(self, network, name):
        self.place, self.name = network.balancer, name

    def add(self):
        ip(self.place, "link", "add", self.name, "address", "02:00:00:00:03:01", "type", "veth", "peer", "name", f"{self.name}-far")
        ip(self.place, "link", "set", self.name, "up")

    def delete(self):
        ip(self.place, "link", "delete", self.name)

    def __enter__(self):
        self.add()
        return self

    def __exit__(self, *_):
        self.delete()


def test_kernel_is_warned_of_and_auto_is_told_where_the_proxy_serves(bench, network, servers, start_usher):
    here = network.balancer.listen()
    local = pool([Address(*here.getsockname()[:2]).text], name="local", algorithm="two_choices")
    _, insists = web(network, name="insists", pool="local")
    _, may = web(network, name="may", pool="local", datapath="auto")
    usher = start_usher(config([insists, may], local))
    observe(2.5)
    (said,), (told,) = lines(usher, "listener insists:"), lines(usher, "listener may:")
    assert "warning" in said and "backend b0 is on this machine" in said and "cure: " in said, said
    assert " info" in told and "backend b0 is on this machine" in told and "cure" not in told, told
    here.close()


def test_an_interface_that_goes_and_comes_back_is_warned_of_once_and_told_once(bench, network, servers, start_usher):
    with another_interface(network, "to3") as third:
        front, one = web(network, interfaces=["to1", "to2", "to3"])
        usher = start_usher(config(one, pool(servers.pairs, algorithm="two_choices")))
        served_by(usher, "kernel")
        third.delete()
        try:
            served_by(usher, "proxy")
            observe(2.5)
        finally:
            third.add()
        served_by(usher, "kernel")
        said = lines(usher, "listener web:")
        assert len(said) == 3, said
        assert "warning" in said[1] and "there is no interface to3" in said[1] and "cure: " in said[1], said
        assert " info" in said[2] and "the kernel datapath serves it" in said[2], said
        eventually(lambda: exchange_once(network.client, front) in ("a", "b"), 5)


def test_the_doctor_without_privilege_says_what_is_missing_and_what_to_do(bench, network, servers):
    path = bench.path("web.toml")
    path.write_text(f'[[listener]]\nname = "web"\nbind = ["{network.balancer.ip4}:80"]\npool = "app"\ndatapath = "kernel"\n'
                    f'[[pool]]\nname = "app"\nalgorithm = "maglev"\n[[pool.backend]]\naddress = "{network.backend.ip4}:80"\n')
    anyone = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", "--inh-caps=-all", "--"]
    done = bench.run([*anyone, binary_for_all(bench), "doctor", "-c", path], place=network.balancer, status=1)
    rows = {}
    for line in done.stdout.splitlines():
        state, what, says = line[:8].strip(), line[10:].split("  ")[0], line.split("  ", 2)[-1]
        if state:
            rows[what] = last = [state, line, ""]
        else:
            last[2] = line.strip()
    for what, (state, line, cure) in rows.items():
        assert state in ("ok", "degraded", "missing") and (state == "ok") == (cure == ""), (line, cure)
        assert cure == "" or cure.startswith("cure: "), cure
    assert rows["io_uring"][0] == "ok"
    assert rows["privilege"][0] == "missing"
    assert "no CAP_BPF, no CAP_NET_ADMIN, no CAP_PERFMON" in rows["privilege"][1]
    assert "usher.service.d/kernel.conf" in rows["privilege"][2] and "setcap" in rows["privilege"][2]
    assert rows["tcx"][0] == "degraded" and "can't be tried" in rows["tcx"][1] and "see privilege" in rows["tcx"][2]
    assert rows["interfaces"][0] == "ok" and "to1" in rows["interfaces"][1]
    assert rows["listener web"][0] == "missing" and "the proxy: the privilege is missing" in rows["listener web"][1]
    assert rows["listener web"][2] == "cure: see privilege"
