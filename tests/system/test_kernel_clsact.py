"""The kernel datapath as a kernel without tcx has it: a filter among other filters of the clsact qdisc."""
import collections
import contextlib
import json
import os
import re

import pytest

from usher_test.clients import exchange_once
from usher_test.kernel import without_clsact
from usher_test.life import BPF_FILE_SYSTEM, live, pinning  # noqa: F401
from usher_test.network import fresh_address
from usher_test.packets import WAYS
from usher_test.peers import needs
from usher_test.programs import Counter
from usher_test.usher import BINARY
from usher_test.waiting import eventually


def filters(it, device):
    """{priority: how many}, of those on packets that come in."""
    shown = json.loads(it.bench.run([needs("tc"), "-j", "filter", "show", "dev", device, "ingress"], place=it.network.balancer).stdout)
    return collections.Counter(one["pref"] for one in shown if "options" in one)


def test_others_filters_of_the_same_qdisc_stay_and_see_packets(live, bench, network, pinning):
    tc = lambda *words: bench.run([needs("tc"), *words], place=network.balancer)
    before, after = Counter(), Counter()
    with contextlib.ExitStack() as ends:
        ends.callback(without_clsact, network.balancer)
        ends.callback(before.close)
        ends.callback(after.close)
        pins = [ends.enter_context(one.pinned(f"{BPF_FILE_SYSTEM}/usher-test-{os.getpid()}-{name}")) for one, name in ((before, "before"), (after, "after"))]
        tc("qdisc", "add", "dev", "to1", "clsact")
        tc("filter", "add", "dev", "to1", "ingress", "pref", 1, "bpf", "da", "object-pinned", pins[0])
        tc("filter", "add", "dev", "to1", "ingress", "pref", 60000, "bpf", "da", "object-pinned", pins[1])
        it = live(way="clsact")
        assert len(filters(it, "to1")) == 3
        seen = before.count()
        assert exchange_once(network.client, it.front) in ("a", "b")
        assert it.through_kernel() and before.count() >= seen + 4
        left = after.count()
        with pytest.raises(ConnectionRefusedError):
            network.client.connect(fresh_address(network.balancer))
        assert after.count() > left, "what usher leaves alone goes on to the next filter"
        it.kill()
        it.start_again()
        assert len(filters(it, "to1")) == 3
        it.usher.stop()
        assert it.nothing_left()
        assert filters(it, "to1") == {1: 1, 60000: 1}
        assert not filters(it, "to2")


def test_a_filter_that_somebody_took_away_is_put_back(live, network):
    it = live(way="clsact")
    it.kill()
    without_clsact(network.balancer)
    it.start_again()
    assert exchange_once(network.client, it.front) in ("a", "b") and it.through_kernel()
    assert {hook.device for hook in it.hooks()} == {"to1", "to2"}


def test_cleanup_says_how_a_filter_that_nothing_pins_goes(live, bench, network, make_usher):
    it = live(way="clsact")
    it.usher.stop()
    alone = make_usher(it.config(), environment=WAYS["clsact"], prefix=["unshare", "-m", "sh", "-c", f'umount {BPF_FILE_SYSTEM} && exec "$@"', "sh"])
    alone.start()
    eventually(lambda: len(it.hooks()) == 2, 5, "attached")
    alone.process.kill()
    alone.ended = True
    assert len(it.hooks()) == 2, "it stays"
    said = bench.run([BINARY, "run", "--cleanup", "-c", alone.config_path], place=network.balancer, status=1).stderr
    assert "on to1, to2 there is a filter" in said
    command = re.search(r'"(tc filter del [^"]*)"', said).group(1).split()
    for device in ("to1", "to2"):
        bench.run([device if word == "to1" else word for word in command], place=network.balancer)
    assert not it.hooks()
    assert "nothing was left" in bench.run([BINARY, "run", "--cleanup", "-c", alone.config_path], place=network.balancer).stdout
