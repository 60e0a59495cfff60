"""The kernel datapath outlives its daemon: kill -9 under load, adoption, another version's programs, cleanup, drain, reload."""
import contextlib
import json
import pathlib
import shutil
import socket
import struct
import subprocess

import pytest

from usher_test.clients import SteadyLoad, ending, exchange_once, receive_line
from usher_test.life import BOTH_WAYS, live, pinning  # noqa: F401
from usher_test.peers import needs
from usher_test.streams import Strand, digest_of, hash_stream, send_stream
from usher_test.usher import BINARY
from usher_test.waiting import eventually

OTHER_ABI = 4000000000
# A multiplier of the program's hash: with another one in its place, the same binary has a program of another version.
HASH_MULTIPLIER, OTHER_MULTIPLIER = struct.pack("<I", 0x45D9F3B), struct.pack("<I", 0x45D9F3D)


@BOTH_WAYS
def test_kill_9_under_load_is_noticed_by_no_flow(live, way):
    it = live(way=way)
    total = 256 << 20
    with SteadyLoad(it.network.client, it.front, per_second=100) as load:
        connected, name = it.connect()
        assert name in ("a", "b") and it.through_kernel()
        sender, reader = Strand(send_stream, connected, 7, total), Strand(hash_stream, connected)
        eventually(lambda: load.succeeded >= 50, 10)
        it.kill()
        after = load.succeeded
        eventually(lambda: load.succeeded >= after + 100, 10, "new connections, by the last table")
        it.start_again()
        after = load.succeeded
        eventually(lambda: load.succeeded >= after + 100, 10)
        sender.get()
        assert reader.get() == (total, digest_of(7, total))
        connected.close()
    assert not load.failures, load.failures[:5]
    assert it.said("took up what an earlier usher left")


@BOTH_WAYS
def test_a_new_daemon_takes_up_flows_tables_and_links(live, way):
    it = live(way=way, algorithm="maglev")
    connected, name = it.connect()
    links = it.links()
    assert len(links) == 2
    it.kill()
    assert it.links() == links
    it.start_again()
    again = it.links()
    assert again.keys() == links.keys(), "the links are the old ones"
    assert not set(again.values()) & set(links.values()), "the programs are new"
    assert {hook.program for hook in it.hooks()} == set(again.values()), "and these are attached"
    with connected:
        connected.sendall(b"still here\n")
        assert receive_line(connected) == "still here"
        other = "b" if name == "a" else "a"
        it.usher.command("drain", f"app/{name}")
        assert {it.connect()[1] for _ in range(20)} == {other}
        connected.sendall(b"and here\n")
        assert receive_line(connected) == "and here"


def test_a_backend_keeps_its_number_whatever_its_place_in_the_file(live):
    it = live(names=("a", "b", "c"))
    connected = [it.connect() for _ in range(12)]
    it.kill()
    kept = [pair for pair in it.servers.pairs if pair[0] != "a"]
    it.usher.write(it.config(pairs=list(reversed(kept))))
    it.start_again()
    for one, name in connected:
        one.sendall(b"x\n")
        assert receive_line(one) == "x", name
    assert {it.connect()[1] for _ in range(30)} == {"b", "c"}
    # A flow's fate is its backend's: those of b go when b is disabled, and no others.
    it.usher.command("disable", "app/b")
    for one, name in connected:
        one.sendall(b"y\n")
        if name == "b":
            assert ending(one) == "reset"
        else:
            assert receive_line(one) == "y", name
        one.close()


def other_version(bench):
    """This binary, with another version of the program in it."""
    path = pathlib.Path(bench.path("usher-other"))
    binary = pathlib.Path(BINARY).read_bytes()
    assert binary.count(HASH_MULTIPLIER) > 0
    path.write_bytes(binary.replace(HASH_MULTIPLIER, OTHER_MULTIPLIER))
    shutil.copymode(BINARY, path)
    return path


@BOTH_WAYS
def test_a_program_of_another_version_is_replaced_in_place(live, bench, way):
    it = live(way=way)
    connected, _ = it.connect()
    before = it.links()
    tags = {it.tag(program) for program in before.values()}
    with SteadyLoad(it.network.client, it.front, per_second=100) as load:
        it.kill()
        it.start_again(other_version(bench))
        eventually(lambda: load.succeeded >= 100, 10)
    after = it.links()
    assert after.keys() == before.keys()
    assert not {it.tag(program) for program in after.values()} & tags
    with connected:
        connected.sendall(b"as before\n")
        assert receive_line(connected) == "as before"
    assert not load.failures, load.failures[:5]


def test_maps_of_another_abi_are_replaced_whole_and_it_is_said(live):
    it = live()
    it.kill()
    settings = str(it.folder / "path_settings")
    shown = json.loads(it.bench.run(["bpftool", "-j", "map", "dump", "pinned", settings]).stdout)[0]["value"]
    value = struct.pack("<I", OTHER_ABI) + bytes(int(byte, 16) for byte in shown[4:])
    it.bench.run(["bpftool", "map", "update", "pinned", settings, "key", "hex", *["00"] * 4, "value", "hex", *[f"{byte:02x}" for byte in value]])
    it.start_again()
    assert it.said("of another version")
    assert exchange_once(it.network.client, it.front) in ("a", "b")
    assert it.links()


def test_a_start_that_was_cut_short_is_cleaned(live):
    it = live()
    it.kill()
    for name in ("path_flows", "path_tables"):
        (it.folder / name).unlink()
    it.start_again()
    assert it.said("of another version")
    assert exchange_once(it.network.client, it.front) in ("a", "b")


@pytest.mark.seconds(120)
def test_a_start_that_is_killed_at_any_bpf_call_leaves_what_the_next_can_use(live):
    """strace(1) kills it on entry to its Nth bpf(2): before, between and after maps, pins, programs and links."""
    it = live()
    it.kill()
    it.cleanup()
    killed = 0
    for number in range(5, 400, 23):
        it.usher.prefix = [needs("strace"), "-qq", "-o", "/dev/null", "-e", "trace=bpf", "-e", f"inject=bpf:signal=KILL:when={number}"]
        it.usher.launch()
        ended = eventually(lambda: not it.usher.process.running() or bool(it.serving()), 20)
        assert ended
        if it.usher.process.running():  # it calls bpf(2) less often than that before it serves
            it.usher.process.stop()
            break
        killed += 1
        it.usher.admin_path.unlink(missing_ok=True)
    assert killed >= 3
    it.usher.prefix = []
    it.start_again()
    assert exchange_once(it.network.client, it.front) in ("a", "b")
    assert it.links()


@BOTH_WAYS
def test_cleanup_takes_away_what_a_killed_one_left(live, way):
    it = live(way=way)
    assert "a running usher has" in it.cleanup(status=1)
    it.kill()
    said = it.cleanup()
    assert "detached from to1, to2" in said and "unpinned" in said, said
    assert it.nothing_left()
    assert "nothing was left" in it.cleanup()


@BOTH_WAYS
def test_a_drain_waits_for_kernel_flows_and_leaves_nothing(live, way):
    it = live(way=way, drain_timeout="20s")
    connected, _ = it.connect()
    it.usher.terminate()
    it.usher.process.wait_until(lambda: "1 kernel flow have" in it.usher.process.output(), 5, "draining")
    for _ in range(3):
        connected.sendall(b"on\n")
        assert receive_line(connected) == "on"
    assert it.usher.process.running()
    connected.shutdown(socket.SHUT_WR)
    assert connected.recv(1) == b""
    connected.close()
    it.usher.wait_exit(10)
    assert "had not ended" not in it.usher.process.output()
    assert it.nothing_left()


def test_a_drain_says_how_many_flows_are_left_at_its_end(live):
    it = live(drain_timeout="1s")
    held = [it.connect()[0] for _ in range(3)]
    it.usher.stop()
    assert "3 kernel flows had not ended" in it.usher.process.output()
    assert it.nothing_left()
    for one in held:
        one.close()


@BOTH_WAYS
def test_a_reload_to_the_proxy_and_back_loses_no_flow(live, way):
    it = live(way=way)
    old, _ = it.connect()
    with SteadyLoad(it.network.client, it.front, per_second=100) as load:
        it.usher.reload(it.config(datapath="proxy"))
        it.served_by("proxy")
        middle, _ = it.connect()
        eventually(lambda: it.usher.active() >= 1, 5)
        old.sendall(b"kernel\n")
        assert receive_line(old) == "kernel"
        assert it.links(), "a flow is left, so it stays attached"
        old.close()
        eventually(lambda: it.nothing_left(), 15, "nothing attached")
        it.usher.reload(it.config())
        it.served_by("kernel")
        middle.sendall(b"proxy\n")
        assert receive_line(middle) == "proxy"
        middle.close()
        after = load.succeeded
        eventually(lambda: load.succeeded >= after + 50, 5)
    assert not load.failures, load.failures[:5]
    assert it.links()
    eventually(lambda: it.usher.active() == 0, 5)


@BOTH_WAYS
def test_a_proxy_after_a_killed_kernel_datapath_lets_its_flows_end(live, way):
    it = live(way=way)
    connected, _ = it.connect()
    it.kill()
    it.usher.write(it.config(datapath="proxy"))
    it.start_again(datapath="proxy")
    connected.sendall(b"on\n")
    assert receive_line(connected) == "on"
    connected.close()
    eventually(lambda: it.nothing_left(), 15, "nothing attached")
    assert exchange_once(it.network.client, it.front) in ("a", "b")


@BOTH_WAYS
def test_two_ushers_on_one_host_do_not_meet(live, make_usher, way):
    it = live(way=way)
    connected, _ = it.connect()
    other = live(way=way)
    assert other.folder != it.folder
    other.usher.stop()
    assert not other.folder.exists()
    connected.sendall(b"on\n")
    assert receive_line(connected) == "on"
    connected.close()


HEALTH = {"type": "tcp", "interval": "100ms", "fast_interval": "50ms", "timeout": "100ms", "rise": 1, "fall": 2}


@pytest.mark.parametrize("datapath", ["kernel", "proxy"])
@pytest.mark.parametrize("on_down", ["keep", "reset"])
def test_on_down(bench, network, make_usher, pinning, live, datapath, on_down):
    it = live(health=HEALTH, on_down=on_down)
    if datapath == "proxy":
        it.usher.reload(it.config(datapath="proxy", health=HEALTH, on_down=on_down))
        it.served_by("proxy")
    connected, name = it.connect()
    # Checks find nobody; what is established goes on.
    with contextlib.ExitStack() as stack:
        refuse_new(network.backend, it.servers.addresses[name], stack)
        eventually(lambda: it.usher.backends()[f"app/{name}"]["health"] == "down", 5)
        if on_down == "keep":
            connected.sendall(b"on\n")
            assert receive_line(connected) == "on"
        else:
            if datapath == "kernel":
                connected.sendall(b"on\n")  # a flow is reset when it says something
            assert ending(connected) == "reset"
    connected.close()


def refuse_new(place, address, stack):
    """No new connection reaches `address`, until the stack is unwound."""
    table = "usher_test_down"
    lines = [f"table inet {table} {{", "chain input {", "type filter hook input priority 0;",
             f"tcp dport {address.port} tcp flags & (syn | ack) == syn drop", "}", "}", ""]
    subprocess.run(place.command([needs("nft"), "\n".join(lines)]), check=True, timeout=20)
    stack.callback(subprocess.run, place.command(["nft", "delete", "table", "inet", table]), check=True, timeout=20)
