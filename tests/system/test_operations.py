"""What an operator types: the verbs, the API, the metrics, check."""
import json
import re
import socket

import pytest

from usher_test.clients import ending, exchange_many, exchange_once, receive_line
from usher_test.metrics import Metrics
from usher_test.network import Address, fresh_address
from usher_test.peers import NameServers
from usher_test.toml import config, listener, pool
from usher_test.usher import UnixConnection
from usher_test.waiting import eventually


@pytest.fixture
def two(bench, start_usher, front):
    """An usher with the backends a and b."""
    servers = NameServers(bench, ["a", "b"])
    return start_usher(config(listener(front.text), pool(servers.pairs, algorithm="round_robin")))


@pytest.mark.sanitized
def test_drain_takes_a_backend_out_and_lets_its_sessions_be(network, two, front):
    first, second = network.client.connect(front), network.client.connect(front)
    by_name = {receive_line(client): client for client in (first, second)}
    assert set(by_name) == {"a", "b"}
    two.command("drain", "app/a")
    assert exchange_many(network.client, front, 10) == {"b": 10}
    by_name["a"].sendall(b"still here\n")
    assert receive_line(by_name["a"]) == "still here"
    two.command("enable", "app/a")
    assert exchange_many(network.client, front, 10) == {"a": 5, "b": 5}
    for client in by_name.values():
        client.close()
    two.expect_only(served=22)


@pytest.mark.sanitized
def test_disable_closes_what_the_backend_has(network, two, front):
    first, second = network.client.connect(front), network.client.connect(front)
    by_name = {receive_line(client): client for client in (first, second)}
    two.command("disable", "app/a")
    assert ending(by_name["a"]) in ("fin", "reset")
    by_name["b"].sendall(b"still here\n")
    assert receive_line(by_name["b"]) == "still here"
    assert exchange_many(network.client, front, 10) == {"b": 10}
    by_name["b"].close()
    two.expect_only(drained=1, served=11)
    two.command("enable", "app/a")
    assert exchange_many(network.client, front, 10) == {"a": 5, "b": 5}


def test_weight_changes_the_shares(network, two, front):
    two.command("weight", "app/a", "300")
    assert exchange_many(network.client, front, 40) == {"a": 30, "b": 10}
    two.command("weight", "app/a", "0")
    assert exchange_many(network.client, front, 10) == {"b": 10}
    assert two.backends()["app/a"]["weight"] == 0


def test_verbs_refuse_what_is_not_there_in_one_clear_line(two):
    for words, status in ((("drain", "app/nobody"), 1), (("drain", "nopool/a"), 1), (("weight", "app/a", "-1"), 2), (("weight", "app/a"), 2),
                          (("frobnicate",), 2), (("drain",), 2)):
        said = two.command(*words, status=status).stderr
        assert said.strip(), words
        if status == 1:
            assert len(said.strip().splitlines()) == 1, said


def test_without_a_running_usher_a_verb_says_so(bench, two):
    said = bench.run([two.binary, "status", "--socket", bench.path("nobody.sock")], status=1).stderr
    assert len(said.strip().splitlines()) == 1 and "nobody.sock" in said


@pytest.mark.parametrize("verb, key", [("status", "phase"), ("listeners", "listeners"), ("backends", "backends"), ("connections", "connections"),
                                       ("events", "events")])
def test_every_listing_reads_as_text_and_as_json(network, two, front, verb, key):
    with network.client.connect(front) as client:
        receive_line(client)
        text = two.command(verb).stdout
        answer = two.command(verb, json_answer=True)
    assert text.strip()
    assert key in answer, answer


def test_connections_names_client_backend_and_bytes(network, two, front):
    with network.client.connect(front) as client:
        name = receive_line(client)
        client.sendall(b"12345\n")
        assert receive_line(client) == "12345"
        rows = two.get("/api/v1/connections")["connections"]
        assert len(rows) == 1
        row = rows[0]
        assert row["client"] == Address(*client.getsockname()[:2]).text
        assert row["backend"].split("/")[-1] == name and row["pool"] == "app" and row["listener"] == "web"
        assert row["stage"] == "relaying" and row["bytes_in"] == 6 and row["bytes_out"] == 6 + len(name) + 1
    eventually(lambda: two.get("/api/v1/connections")["connections"] == [], 5)


def test_reload_as_a_verb_applies_or_refuses(bench, network, two, front):
    assert two.command("reload").returncode == 0
    two.write("[global]\nworkers = many\n")
    said = two.command("reload", status=1)
    assert re.search(re.escape(str(two.config_path)) + r":2:\d+: error", said.stdout + said.stderr)
    assert exchange_once(network.client, front) in ("a", "b")


def test_http_serves_metrics_pages_and_reads_but_refuses_changes_without_a_token(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    port = fresh_address(network.balancer).port
    usher = start_usher(config(listener(front.text), pool(servers.pairs)), admin={"http": f"127.0.0.1:{port}"})

    def curl(path, *options):
        done = bench.run(["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", *options, f"http://127.0.0.1:{port}{path}"], place=network.balancer)
        body, _, code = done.stdout.rpartition("\n")
        return int(code), body

    exchange_many(network.client, front, 3)
    code, text = curl("/metrics")
    assert code == 200 and Metrics(text).sum("usher_connections_accepted_total") == 3
    assert curl("/healthz")[0] == 200 and curl("/readyz")[0] == 200
    assert json.loads(curl("/api/v1/status")[1])["phase"] == "serving"
    assert curl("/")[0] == 200 and curl("/api/v1/nothing")[0] == 404
    for path, body in (("/api/v1/reload", ""), ("/api/v1/backends/app/a", '{"state": "disabled"}')):
        assert curl(path, "-X", "POST", "-d", body)[0] in (401, 403)
    assert usher.backends()["app/a"]["intent"] == "enabled"


def test_http_with_a_token_takes_changes(bench, network, start_usher, front):
    servers = NameServers(bench, ["a"])
    port = fresh_address(network.balancer).port
    usher = start_usher(config(listener(front.text), pool(servers.pairs)), admin={"http": f"127.0.0.1:{port}", "token": "sesame"})
    post = ["curl", "-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-d", '{"state": "drain"}']
    url = f"http://127.0.0.1:{port}/api/v1/backends/app/a"
    assert bench.run([*post, "-H", "Authorization: Bearer wrong", url], place=network.balancer).stdout in ("401", "403")
    assert usher.backends()["app/a"]["intent"] == "enabled"
    assert bench.run([*post, "-H", "Authorization: Bearer sesame", url], place=network.balancer).stdout == "200"
    assert usher.backends()["app/a"]["intent"] == "drain"


def test_metrics_are_described_and_name_every_worker(network, two, front):
    exchange_many(network.client, front, 10)
    status, text = two.request("GET", "/metrics")
    assert status == 200
    described = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    for name, _, _ in Metrics(text).samples:
        assert name in described or re.sub(r"_(bucket|sum|count)$", "", name) in described, f"{name} has no # TYPE"
    seen = Metrics(text)
    assert len(seen.rows("usher_worker_turns_total")) == 2
    assert seen.sum("usher_connect_duration_seconds_count", pool="app") == 10
    assert seen.sum("usher_connection_duration_seconds_count", listener="web") == 10
    assert seen.sum("usher_datapath", listener="web", datapath="proxy") == 1
    assert seen.sum("usher_build_info") == 1


def test_readyz_is_503_while_a_listener_has_no_ready_backend(network, start_usher, front):
    nobody = fresh_address(network.backend)
    usher = start_usher(config(listener(front.text), pool([nobody.text], health={"type": "tcp", "interval": "100ms", "fast_interval": "100ms"})))
    assert usher.request("GET", "/readyz")[0] == 503
    assert usher.request("GET", "/healthz")[0] == 200
    listening = network.backend.listen(port=nobody.port)
    eventually(lambda: usher.request("GET", "/readyz")[0] == 200, 5)
    listening.close()


def test_the_admin_socket_is_for_owner_and_group_only(two):
    assert two.admin_path.stat().st_mode & 0o777 == 0o660


def test_the_admin_socket_survives_nonsense(two):
    for said in (b"\0" * 1000, b"GET", b"GET / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", b"POST /api/v1/reload HTTP/1.1\r\n\r\n" * 3,
                 b"A" * 100_000):
        nonsense = UnixConnection(two.admin_path, 5)
        nonsense.connect()
        try:
            nonsense.sock.sendall(said)
            nonsense.sock.shutdown(socket.SHUT_WR)
            ending(nonsense.sock)
        except (BrokenPipeError, ConnectionResetError):
            pass
        nonsense.close()
    assert two.get("/api/v1/status")["phase"] == "serving"
    for body in ("", "{", "[]", '{"state": "sideways"}', '{"weight": -1}', '{"weight": 1e9}', '{"weight": "7"}', "{}"):
        connection = UnixConnection(two.admin_path, 5)
        connection.request("POST", "/api/v1/backends/app/a", body, {"Connection": "close"})
        answer = connection.getresponse()
        assert 400 <= answer.status < 500 and json.loads(answer.read())["error"], body
        connection.close()


def test_clients_that_never_finish_their_requests_block_the_others_for_seconds_only(two):
    """Each of the four threads of a door gives a request five seconds."""
    silent = [UnixConnection(two.admin_path, 5) for _ in range(4)]
    for one in silent:
        one.connect()
    assert two.get("/api/v1/status")["phase"] == "serving"
    for one in silent:
        one.close()


# usher check.

def test_check_accepts_a_good_file(two):
    status, said = two.check(config(listener("127.0.0.1:8080"), pool(["127.0.0.1:9001"])))
    assert status == 0, said


def test_check_reports_every_problem_at_once_with_its_place(two):
    status, said = two.check('[global]\nworkerz = 2\ndrain_timeout = "soon"\n\n[[listener]]\nname = "web"\nbind = ["127.0.0.1"]\npool = "ap"\n\n'
                             '[[pool]]\nname = "app"\nalgorithm = "fastest"\n[[pool.backend]]\nname = "a"\naddress = "127.0.0.1:9001"\n')
    assert status == 2, said
    found = {int(line) for line in re.findall(r"checked\.toml:(\d+):\d+: error: ", said)}
    assert {2, 3, 7, 8, 12} <= found, said
    assert "workers" in said, "the nearest known key as a hint"


def test_check_of_a_file_that_is_not_there(bench, two):
    assert bench.run([two.binary, "check", "-c", bench.path("none.toml")], status=2).stderr


def test_run_refuses_a_bad_file_with_status_2(bench, two):
    bad = bench.path("bad.toml")
    bad.write_text("[global]\nworkerz = 2\n")
    assert "workerz" in bench.run([two.binary, "run", "-c", bad], status=2).stderr


def test_what_later_work_will_build_is_refused_for_now(two):
    for keys in ('[[listener.route]]\nserver_names = ["a.example"]\npool = "app"', 'rate_limit = { new_per_second = 10, burst = 10, concurrent = 0 }'):
        status, said = two.check(f'[[listener]]\nname = "web"\nbind = ["127.0.0.1:8080"]\npool = "app"\n{keys}\n'
                                 '[[pool]]\nname = "app"\n[[pool.backend]]\nname = "a"\naddress = "127.0.0.1:9001"\n')
        assert status == 2 and "not supported yet" in said, said


def test_help_and_version_everywhere(bench, two):
    assert re.search(r"\d+\.\d+\.\d+", bench.run([two.binary, "--version"]).stdout)
    verbs = ["run", "check", "demo", "status", "listeners", "backends", "connections", "events", "drain", "enable", "disable", "weight", "reload"]
    overview = bench.run([two.binary, "--help"]).stdout
    for verb in verbs:
        assert verb in overview
        assert bench.run([two.binary, verb, "--help"]).stdout.strip()
