"""Running under systemd: the notification protocol, the unit file, installation; and the demo, as anyone may start it."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from usher_test.clients import exchange_once, receive_line
from usher_test.peers import NameServers, needs
from usher_test.toml import config, listener, pool
from usher_test.unit import KERNEL_DROP_IN, UNIT, settings
from usher_test.usher import BINARY, SANITIZER_OPTIONS
from usher_test.waiting import eventually

EXPOSURE_MAX = 25  # systemd-analyze security, tenths: "OK" and better ends at 2.5
NOBODY = 65534


@pytest.mark.sanitized
def test_readiness_reload_and_stop_are_told_to_systemd(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)))
    ready, _ = usher.notify.wait_for("READY", "1")
    usher.notify.wait_for("STATUS")
    usher.hangup()
    reloading, message = usher.notify.wait_for("RELOADING", "1", after=ready + 1)
    assert int(message["MONOTONIC_USEC"]) > 0, "Type=notify-reload wants the time of the reload"
    usher.notify.wait_for("READY", "1", after=reloading)
    usher.stop()
    usher.notify.wait_for("STOPPING", "1", after=reloading)


def test_a_refused_reload_still_ends_in_ready(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)))
    usher.write("nonsense")
    usher.hangup()
    reloading, _ = usher.notify.wait_for("RELOADING", "1")
    usher.notify.wait_for("READY", "1", after=reloading)
    assert exchange_once(network.client, front) == "a"


def test_it_is_ready_only_when_it_listens(bench, network, make_usher, front):
    servers = NameServers(bench, ["a"])
    usher = make_usher(config(listener(front.text), pool(servers.pairs)))
    usher.launch()
    usher.process.wait_until(lambda: usher.notify.find("READY", "1"), 15)
    assert exchange_once(network.client, front) == "a"  # at once, without waiting for anything
    usher.stop()


def test_the_watchdog_is_fed_in_time(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)), environment={"WATCHDOG_USEC": "1000000"})
    for _ in range(3):
        count = len([message for message in usher.notify.receive() if message.get("WATCHDOG") == "1"])
        eventually(lambda: len([message for message in usher.notify.receive() if message.get("WATCHDOG") == "1"]) > count, 1.0, "WATCHDOG=1 within a second")


def test_without_a_watchdog_nothing_is_fed(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)))
    usher.reload()
    assert usher.notify.find("WATCHDOG") is None


def test_under_the_journal_lines_carry_a_priority(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)), environment={"JOURNAL_STREAM": "1:1"})
    lines = usher.process.output().splitlines()
    assert lines and all(re.match(r"^<[0-7]>", line) for line in lines), lines


@pytest.fixture(params=["as_installed", "with_the_kernel_drop_in"])
def unit(request, bench):
    """The unit file with the binary where it is, so that systemd-analyze finds it; and with the drop-in beside it."""
    text = UNIT.read_text()
    assert re.search(r"^ExecStart=\S*usher run ", text, re.MULTILINE)
    copy = bench.path("usher.service")
    binary = shutil.copy(BINARY, bench.path("usher"))
    copy.write_text(re.sub(r"^(Exec\w+=)[^\s]*usher ", rf"\g<1>{binary} ", text, flags=re.MULTILINE))
    if request.param == "with_the_kernel_drop_in":
        folder = bench.path("usher.service.d")
        folder.mkdir()
        shutil.copy(KERNEL_DROP_IN, folder)
    return copy


def test_the_unit_file_is_valid(bench, unit):
    needs("systemd-analyze")
    said = bench.run(["systemd-analyze", "verify", "--man=no", unit], status=None)
    about_us = [line for line in (said.stdout + said.stderr).splitlines() if "usher" in line]
    assert said.returncode == 0 and not about_us, said.stdout + said.stderr


def test_the_unit_file_is_hardened(bench, unit):
    said = bench.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", unit], status=None)
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr


def test_the_kernel_drop_in_is_read_beside_the_unit(bench, unit):
    """Or the two tests above would show nothing of it."""
    said = bench.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit], status=None).stdout
    admin, = (line for line in said.splitlines() if "CAP_NET_ADMIN" in line)
    assert admin.strip().startswith("\u2717" if (unit.parent / "usher.service.d").exists() else "\u2713"), admin


@pytest.mark.parametrize("path", [UNIT, KERNEL_DROP_IN], ids=["unit", "drop_in"])
def test_every_hardening_line_has_its_reason(path):
    """A comment above each line, or above the group that it stands in."""
    block_has_reason = False
    for line in path.read_text().splitlines():
        if not line.strip():
            block_has_reason = False
        elif line.startswith("#"):
            block_has_reason = True
        elif not line.startswith("[") and "=" in line:
            key = line.split("=")[0]
            if key.startswith(("Protect", "Private", "Restrict", "System", "Capability", "Ambient", "Lock", "Memory", "NoNew", "Remove", "Proc", "ExecStartPre", "ReadWrite")):
                assert block_has_reason, f"{line} has no reason above it"


def test_the_drop_in_adds_to_the_unit_and_takes_nothing_back():
    """A drop-in's empty value would clear what the unit says; one of its own keys is looser than the unit's."""
    own, added = settings(UNIT), settings(KERNEL_DROP_IN)
    assert all(value for values in added.values() for value in values)
    assert {key for key in added if key in own} == {"AmbientCapabilities", "CapabilityBoundingSet", "RestrictAddressFamilies", "ProcSubset"}
    assert "bpf" in own["SystemCallFilter"], "bpf(2) is the unit's already"


def build_directory():
    for parent in BINARY.resolve().parents:
        if (parent / "CMakeCache.txt").exists():
            return parent
    raise AssertionError(f"{BINARY} is in no build directory")


def test_install_puts_files_where_an_administrator_looks(bench):
    """Into a DESTDIR, with the prefix that a Debian package uses."""
    target = bench.path("root")
    bench.run(["cmake", "--install", build_directory(), "--prefix", "/usr"], environment={"DESTDIR": str(target)})
    files = {"/" + str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir()}
    assert "/usr/sbin/usher" in files, files
    assert {"/usr/lib/systemd/system/usher.service", "/usr/share/man/man8/usher.8", "/usr/share/bash-completion/completions/usher"} <= files, files
    assert any(path.endswith("usher/usher.toml") for path in files), files
    assert "/usr/share/doc/usher/examples/usher.service.d/kernel.conf" in files, files
    assert os.access(target / "usr/sbin/usher", os.X_OK)
    assert all(not path.endswith((".a", ".h", ".cc")) for path in files), files
    said = bench.run([target / "usr/sbin/usher", "--version"], environment=SANITIZER_OPTIONS)
    assert said.stdout.strip()
    unit = (target / "usr/lib/systemd/system/usher.service").read_text()
    assert re.search(r"^ExecStart=/usr/sbin/usher run ", unit, re.MULTILINE), "the unit names the binary where it was installed"


def test_the_manual_page_has_no_warnings(bench):
    target = bench.path("root")
    bench.run(["cmake", "--install", build_directory(), "--prefix", "/usr"], environment={"DESTDIR": str(target)})
    pages = list(target.glob("usr/share/man/man*/usher*"))
    assert pages
    for page in pages:
        said = bench.run(["man", "--warnings", "-E", "UTF-8", "-l", page], environment={"MANROFFSEQ": "", "MANWIDTH": "80", "PAGER": "cat"})
        assert not said.stderr.strip(), said.stderr


def as_anyone():
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--"] if os.geteuid() == 0 else []


@pytest.fixture
def demo(bench):
    """usher demo as the command line of a user without rights."""
    binary = shutil.copy(BINARY, bench.path("usher"))
    os.chmod(binary, 0o755)
    return [*as_anyone(), binary, "demo"]


@pytest.mark.sanitized
def test_the_demo_serves_without_root_and_without_ebpf(bench, network, demo):
    said = bench.run([*demo, "--seconds", "5", "--json"], place=network.balancer, seconds=30, environment=SANITIZER_OPTIONS)
    last = json.loads(said.stdout.strip().splitlines()[-1]) if said.stdout.strip().count("\n") and not said.stdout.strip().startswith("{\n") \
        else json.loads(said.stdout)
    assert last["requests"] > 0, last
    assert last["errors"] == 0, last


def test_the_demo_is_reached_from_outside_while_it_runs(bench, network, demo):
    running = bench.start([*demo, "--seconds", "30"], name="demo", place=network.balancer, environment=SANITIZER_OPTIONS)

    def page(url):
        done = subprocess.run(network.balancer.command(["curl", "-sS", "--fail", "--max-time", "5", url]), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=20)
        return done.stdout if done.returncode == 0 else ""
    running.wait_until(lambda: page("http://127.0.0.1:8080/"), 15)
    names = {page("http://127.0.0.1:8080/") for _ in range(12)}
    assert len(names) >= 2, names
    assert "usher_connections_accepted_total" in page("http://127.0.0.1:9900/metrics")
    running.signal(signal.SIGINT)
    assert running.wait(15) == 0


def test_a_session_survives_the_loss_of_the_notification_socket(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    usher = start_usher(config(listener(front.text), pool(servers.pairs)))
    with network.client.connect(front) as client:
        assert receive_line(client) == "a"
        pathlib.Path(usher.notify.path).unlink()
        usher.reload()
        client.sendall(b"still here\n")
        assert receive_line(client) == "still here"
