"""usher-bench against real servers and its own backends: what it counts is what happened, and what it says is what a user needs."""
import json
import os
import pty
import re
import select
import shutil
import signal
import time

import pytest

from usher_test import peers
from usher_test.network import fresh_address
from usher_test.usher import BINARY, SANITIZER_OPTIONS
from usher_test.waiting import SLOWNESS, eventually, observe

TOOL = BINARY.parent / "usher-bench"
CONTRACT = {"tool", "version", "mode", "target", "connections", "threads", "rate", "seed", "started_at", "interrupted", "warmup_seconds",
            "duration_seconds", "total", "measured", "per_second", "slices_per_second", "slices_p99", "errors", "latency", "connect_latency",
            "late_sends", "idle", "cpu_seconds", "busy_share", "histogram"}
LATENCY = {"count", "min", "mean", "p50", "p90", "p99", "p999", "max", "corrected"}
COUNTS = {"requests", "connects", "bytes_sent", "bytes_received"}

pytestmark = [pytest.mark.skipif(not TOOL.exists(), reason="usher-bench isn't built")]


@pytest.fixture
def place(network):
    return network.backend


@pytest.fixture
def serve(bench, place):
    """Starts a backend of the tool's own: (process, "IP:PORT")."""
    def start(kind, *options):
        process = bench.start([TOOL, "serve", kind, "--listen", f"{place.ip4}:0", *options], name=f"serve-{kind}", place=place,
                              environment=SANITIZER_OPTIONS)
        found = process.wait_until(lambda: re.search(rf"serving {kind} on (\S+)\n", process.output()), 10, "serving")
        return process, found[1]
    return start


@pytest.fixture
def load(bench, place):
    """Runs the tool to its end; returns its report."""
    def run(*words, status=0):
        done = bench.run([TOOL, *words, "--json", "-"], place=place, status=status, environment=SANITIZER_OPTIONS)
        report = json.loads(done.stdout)
        report["stderr"] = done.stderr
        return report
    return run


def nginx_with_a_log(bench, place):
    address = fresh_address(place)
    return peers.Nginx(bench, address, place=place, http=f'server {{ listen {address.text}; access_log access.log; '
                                                         f'location / {{ return 200 "hello\\n"; }} location /gone {{ return 410; }} }}')


def logged(server):
    return (server.root / "access.log").read_text().splitlines()


@pytest.mark.sanitized
@pytest.mark.parametrize("options, connects", [((), 20), (("--requests-per-connection", "1"), 1000), (("--threads", "2"), 20)],
                         ids=["keepalive", "a connection each", "two threads"])
def test_http_counts_as_many_requests_as_nginx_logs(bench, place, load, options, connects):
    server = nginx_with_a_log(bench, place)
    report = load("http", f"http://{server.address.text}/", "-c", "20", "--requests", "1000", *options)
    assert report["total"]["requests"] == 1000 and report["measured"]["requests"] == 1000
    assert report["total"]["connects"] == connects
    assert report["errors"]["total"] == 0
    assert report["http_statuses"]["2xx"] == 1000
    eventually(lambda: len(logged(server)) == 1000, 5, "1000 lines in nginx's log")
    observe(0.05)
    lines = logged(server)
    assert len(lines) == 1000 and all('"GET / HTTP/1.1" 200' in line and "usher-bench/" in line for line in lines)


def test_http_errors_of_the_application_are_errors_of_the_run(bench, place, load):
    server = nginx_with_a_log(bench, place)
    report = load("http", f"http://{server.address.text}/gone", "--requests", "100", status=1)
    assert report["total"]["requests"] == 100 and report["errors"]["http_status"] == 100 and report["http_statuses"]["4xx"] == 100
    assert "usher-bench: 100 answers had a status of 400 or above" in report["stderr"]


def test_the_report_has_the_keys_of_the_contract(serve, load):
    _, address = serve("answer")
    report = load("echo", address, "-d", "300ms", "--warmup", "100ms", "-c", "10", "--request", "100", "--answer", "1KiB")
    assert CONTRACT <= report.keys()
    assert LATENCY == report["latency"].keys()
    for part in ("total", "measured", "per_second"):
        assert report[part].keys() == COUNTS
    assert (report["mode"], report["target"], report["connections"]) == ("echo", address, 10)
    assert report["rate"] is None and report["idle"] is None
    assert report["latency"]["count"] == report["measured"]["requests"] == sum(count for _, count in report["histogram"])
    assert report["total"]["requests"] > report["measured"]["requests"] > 100
    assert report["total"]["connects"] == 10 and report["measured"]["connects"] == 0
    assert report["measured"]["bytes_received"] >= 1024 * (report["measured"]["requests"] - 10)
    assert len(report["slices_p99"]) == len(report["slices_per_second"]) == 10
    for rate, p99 in zip(report["slices_per_second"], report["slices_p99"]):  # a tenth is 30 ms here
        assert (p99 is not None) == (round(rate * 0.03) >= 1000)
        assert p99 is None or report["latency"]["min"] <= p99 <= report["latency"]["max"] * 1.04
    assert 0.3 <= report["duration_seconds"] < 0.4 * SLOWNESS + 0.3 and report["warmup_seconds"] >= 0.1
    assert report["per_second"]["requests"] == pytest.approx(report["measured"]["requests"] / report["duration_seconds"])
    assert report["latency"]["min"] <= report["latency"]["p50"] <= report["latency"]["p99"] <= report["latency"]["max"]


@pytest.mark.sanitized
def test_connect_opens_a_connection_for_each_request(serve, load):
    backend, address = serve("answer")
    report = load("connect", address, "--requests", "500", "-c", "20")
    assert report["total"]["requests"] == report["total"]["connects"] == 500
    assert report["connect_latency"]["count"] == 500
    assert report["errors"]["total"] == 0
    backend.signal(signal.SIGTERM)
    assert backend.wait() == 0
    assert "accepted 500, requests 500" in backend.output()


def test_a_run_of_n_requests_is_over_when_n_were_tried(bench, network, place, serve, load):
    dead = fresh_address(place).text
    done = bench.run([TOOL, "connect", dead, "--requests", "100"], place=place, status=1)
    assert f"nothing could connect to {dead}: Connection refused (100 attempts)" in done.stderr
    if network.why_loopback or not shutil.which("nft"):
        pytest.skip(network.why_loopback or "nft isn't there")
    _, address = serve("answer")
    rules = ("table inet usher_test { chain input { type filter hook input priority 0\n"
             f"tcp dport {address.rpartition(':')[2]} tcp flags & (syn | ack) == syn numgen inc mod 3 == 2 reject with tcp reset\n}}\n}}\n")
    bench.path("rules").write_text(rules)
    bench.run(["nft", "-f", bench.path("rules")], place=place)
    try:
        report = load("connect", address, "--requests", "100", status=1)
    finally:
        bench.run(["nft", "delete", "table", "inet", "usher_test"], place=place)
    assert report["total"]["requests"] == 67 and report["errors"]["connect_refused"] == report["errors"]["total"] == 33
    assert "67 of 100 requests were answered" in report["stderr"] and "33 connects were refused" in report["stderr"]


@pytest.mark.sanitized
@pytest.mark.parametrize("direction, kind", [("up", "sink"), ("down", "source"), ("both", "echo")])
def test_streams(serve, load, direction, kind):
    backend, address = serve(kind)
    report = load("stream", address, "-c", "3", "-d", "300ms", "--warmup", "50ms", "--direction", direction)
    assert report["errors"]["total"] == 0
    assert (report["measured"]["bytes_sent"] > 1_000_000) == (direction != "down")
    assert (report["measured"]["bytes_received"] > 1_000_000) == (direction != "up")
    assert report["latency"] is None and report["slices_p99"] is None
    assert backend.running()


def test_idle_connections_are_held_and_those_that_are_closed_are_told(bench, place, serve, load):
    backend, address = serve("echo")
    report = load("idle", address, "-c", "300", "--connect-rate", "3000", "-d", "200ms", "--warmup", "0s")
    assert report["idle"] == {"held": 300, "closed_by_peer": 0}
    process = bench.start([TOOL, "idle", address, "-c", "50", "-d", "20s", "--warmup", "0s", "--json", bench.path("idle.json")],
                          name="idle", place=place, environment=SANITIZER_OPTIONS)
    eventually(lambda: re.search(r"open 50 ", process.output()), 10, "50 open")
    backend.signal(signal.SIGTERM)
    backend.wait()
    eventually(lambda: re.search(r"open 0 ", process.output()), 10, "all closed")
    process.signal(signal.SIGINT)
    assert process.wait() == 1
    report = json.loads(bench.path("idle.json").read_text())
    assert report["idle"] == {"held": 0, "closed_by_peer": 50} and report["interrupted"]
    assert "interrupted after" in process.output()


def test_an_open_loop_keeps_its_rate(serve, load):
    _, address = serve("http")
    report = load("http", f"http://{address}/", "-c", "20", "-r", "1000", "-d", "500ms", "--warmup", "100ms")
    assert report["rate"] == 1000 and report["latency"]["corrected"]
    assert report["measured"]["requests"] == pytest.approx(500, rel=0.15)
    assert report["errors"]["total"] == 0


def test_an_open_loop_charges_a_stall_to_every_request_that_was_due(bench, place, serve):
    """The correction for coordinated omission: a closed loop sees a stall once a connection, an open one at every request."""
    backend, address = serve("answer")
    stall_seconds, duration = 0.4, 1.0

    def run(name, *options):
        tool = bench.start([TOOL, "echo", address, "-c", "4", "-d", f"{int(duration * 1000)}ms", "--warmup", "100ms",
                            "--json", bench.path(name), *options], name=name, place=place, environment=SANITIZER_OPTIONS)
        observe(0.4)
        backend.signal(signal.SIGSTOP)
        try:
            observe(stall_seconds)
        finally:
            backend.signal(signal.SIGCONT)
        assert tool.wait() == 0
        return json.loads(bench.path(name).read_text())

    opened = run("open.json", "-r", "500")
    assert opened["latency"]["max"] >= stall_seconds * 0.6
    assert opened["latency"]["p90"] >= stall_seconds * 0.1  # two fifths of the requests were due while it stood still
    assert opened["late_sends"] >= 50
    closed = run("closed.json")
    assert closed["latency"]["max"] >= stall_seconds * 0.6  # it happened there too,
    assert closed["latency"]["p90"] < opened["latency"]["p90"]  # and hardly shows


def test_a_dead_target_is_told_in_one_line(bench, place):
    address = fresh_address(place)
    began = time.monotonic()
    done = bench.run([TOOL, "http", f"http://{address.text}/", "-d", "30s"], place=place, status=1)
    assert time.monotonic() - began < 10 * SLOWNESS
    assert done.stdout == ""
    said = rf"^usher-bench: nothing could connect to http://{re.escape(address.text)}/: Connection refused \(\d+ attempts\)$"
    assert re.search(said, done.stderr, re.M), done.stderr


def test_a_server_that_dies_is_told_and_ends_with_one(bench, place, serve):
    backend, address = serve("http")
    tool = bench.start([TOOL, "http", f"http://{address}/", "-c", "10", "-d", "1s", "--warmup", "0s"], name="tool", place=place)
    observe(0.3)
    backend.kill()
    assert tool.wait() == 1
    assert "connects were refused" in tool.output()
    assert "requests " in tool.output()  # the table still comes


@pytest.mark.parametrize("words, says", [
    ((), "a mode is missing"), (("http",), "a target is missing"), (("http", "https://x/"), "TLS isn't spoken"),
    (("echo", "x:1", "-c", "no"), "--connections: 'no'"),
    (("echo", "x:1", "--nonsense"), "unknown option '--nonsense'"), (("serve", "http"), "--listen"), (("--compare", "a"), "two files"),
])
def test_mistakes_get_one_line_and_exit_2(bench, words, says):
    done = bench.run([TOOL, *words], status=2)
    assert done.stdout == "" and done.stderr.count("\n") == 1 and says in done.stderr, done.stderr


def test_more_connections_than_descriptors_are_refused_with_the_limit(bench):
    done = bench.run(["prlimit", "--nofile=200:200", TOOL, "echo", "127.0.0.1:1", "-c", "500"], status=1)
    assert "RLIMIT_NOFILE" in done.stderr and "is 200, which is enough for 136" in done.stderr


def test_ports_that_run_out_are_explained(bench, network, place, serve):
    if network.why_loopback:
        pytest.skip(network.why_loopback)
    _, address = serve("answer")
    before = place.sysctl("net.ipv4.ip_local_port_range")
    place.sysctl("net.ipv4.ip_local_port_range", "40000 40031")
    try:
        done = bench.run([TOOL, "echo", address, "-c", "60", "-d", "300ms", "--warmup", "0s"], place=place, status=1)
        assert "EADDRNOTAVAIL" in done.stderr and "ip_local_port_range" in done.stderr and "--bind" in done.stderr
    finally:
        place.sysctl("net.ipv4.ip_local_port_range", before)


def test_two_reports_are_compared(bench, serve, place):
    _, address = serve("answer")
    for name in ("a", "b"):
        bench.run([TOOL, "echo", address, "-c", "5", "-d", "300ms", "--warmup", "50ms", "--quiet", "--json", bench.path(f"{name}.json")],
                  place=place)
    done = bench.run([TOOL, "--compare", bench.path("a.json"), bench.path("b.json")])
    assert re.search(r"^requests /s +[\d,.]+ +[\d,.]+ +\d\.\d{3}$", done.stdout, re.M), done.stdout
    assert "wavered" in done.stdout
    bench.path("c.json").write_text("{}")
    done = bench.run([TOOL, "--compare", bench.path("a.json"), bench.path("c.json")], status=1)
    assert "c.json is no report of usher-bench" in done.stderr


def test_quiet_is_quiet_and_json_alone_is_on_stdout(bench, serve, place):
    _, address = serve("http")
    done = bench.run([TOOL, "http", f"http://{address}/", "--requests", "50", "--quiet"], place=place)
    assert done.stdout == "" and done.stderr == ""
    done = bench.run([TOOL, "http", f"http://{address}/", "--requests", "50", "--json", "-"], place=place)
    assert json.loads(done.stdout)["total"]["requests"] == 50
    assert "requests" in done.stderr  # the table


def test_a_name_is_looked_up(bench, serve, place):
    _, address = serve("http")
    done = bench.run([TOOL, "http", "http://no-such-name.invalid/"], place=place, status=1)
    assert "can't look up 'no-such-name.invalid'" in done.stderr and done.stderr.count("\n") == 1


def test_the_live_view_is_one_line_on_a_terminal(bench, serve, place):
    _, address = serve("http")
    child, terminal = pty.fork()
    if child == 0:
        command = place.command([TOOL, "http", f"http://{address}/", "-d", "1500ms", "--warmup", "0s", "-c", "5"])
        os.execvp(command[0], command)
    try:
        seen = b""
        deadline = time.monotonic() + 20 * SLOWNESS
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                chunk = os.read(terminal, 65536)
            except OSError:  # its other end is closed
                break
            if not chunk:
                break
            seen += chunk
        _, status = os.waitpid(child, 0)
        child = None
    finally:
        os.close(terminal)
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    text = seen.decode()
    assert os.waitstatus_to_exitcode(status) == 0, text
    assert re.search(r"\r\x1b\[K +1s of 1500ms  [\d,.]+ requests/s  p50 \S+  p99 \S+  open 5  errors 0", text), text
    assert re.search(r"\r\x1b\[Kmeasured 1\.5\ds", text), text  # the table takes the place of the line
    assert re.search(r"latency +[\d.]+[unm]?s", text), text
