"""The command line: what it refuses, with which hint; how ushers are named and set."""
import os
import sys

import pytest

from usher_compare import arguments, loader, main, plugins, runner
from usher_compare.contender import Setup
from usher_compare.failure import Spoiled
from usher_compare.network import stale


class Places:
    """As much of a Network as a configuration asks for."""

    class balancer:
        ip = "10.78.1.1"


@pytest.mark.parametrize(("argv", "says"), [
    (["--scenario", "keepalve_small"], "did you mean 'keepalive_small'?"),
    (["--contender", "direct,hapoxy"], "did you mean 'haproxy'?"),
    (["--usher", "base=/not/there"], "/not/there is no program"),
    (["--usher", "a b"], "NAME or NAME=PATH"),
    (["--usher", "a", "--usher", "a"], "two have the same name"),
    (["--set", "mover"], "[VARIANT:]KEY=VALUE"),
    (["--set", "new:mover=ring"], "there is no --usher new"),
    (["--set", "nowhere.mover=ring"], "the table is one of"),
    (["--cores", "one"], "two numbers"),
])
def test_what_makes_no_sense_is_refused_with_a_hint(argv, says, capsys):
    assert main.main(argv) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


@pytest.mark.parametrize("argv", [["--rounds", "0"], ["--seconds", "no"], ["--seconds", "1e9"], ["--nonsense"]])
def test_bad_numbers_and_unknown_options_end_with_2(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(argv)
    assert ended.value.code == 2 and "bench/compare: error" in capsys.readouterr().err


def test_a_missing_report_is_named(tmp_path, capsys):
    assert main.main(["--render", str(tmp_path)]) == 1
    assert "results.json" in capsys.readouterr().err


def test_without_root_there_is_one_clear_line(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main.main(["--scenario", "bulk_one"]) == 1
    assert capsys.readouterr().err == ("bench/compare: network namespaces need root (CAP_NET_ADMIN and CAP_SYS_ADMIN); run it with sudo\n")


def test_a_build_folder_without_programs_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(main, "missing_programs", lambda _: [])
    assert main.main(["--binary-dir", str(tmp_path), "--scenario", "bulk_one"]) == 1
    assert f"there is no program usher in {tmp_path}" in capsys.readouterr().err


def test_a_missing_peer_is_named_with_its_package(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(main.shutil, "which", lambda name, path=None: None if name == "haproxy" else f"/bin/{name}")
    assert main.main(["--no-install", "--contender", "direct,haproxy"]) == 1
    assert "missing: haproxy (package haproxy)" in capsys.readouterr().err


def test_usher_stands_for_every_variant():
    given = arguments.parse(["--contender", "direct,usher", "--usher", f"base={sys.executable}", "--usher", "ring", "--set", "ring:mover=ring",
                             "--set", "pool.algorithm=maglev"])
    made = main.make_contenders(given, plugins.contenders(), "/built/usher")
    assert [one.name for one in made] == ["direct", "usher-base", "usher-ring"]
    assert str(made[1].binary) == os.path.realpath(sys.executable) and made[2].binary == "/built/usher"
    setup = Setup(Places, "/d", [("10.78.2.2", 800)], 100, 1000)
    base, ring = (one.configuration(setup) for one in made[1:])
    assert 'mover = "ring"' in ring and "mover" not in base
    assert 'algorithm = "maglev"' in ring and 'algorithm = "maglev"' in base


def test_a_setting_without_a_variant_is_for_usher_itself():
    made = main.make_contenders(arguments.parse(["--contender", "usher", "--set", "workers=2"]), plugins.contenders(), "/built/usher")
    assert [one.name for one in made] == ["usher"]
    assert "workers = 2" in made[0].configuration(Setup(Places, "/d", [], 1, 1))


def test_a_default_build_is_wanted_only_where_it_is_used():
    assert main.needs_default_usher(arguments.parse([]))
    assert not main.needs_default_usher(arguments.parse(["--contender", "direct,haproxy"]))
    assert not main.needs_default_usher(arguments.parse(["--usher", f"base={sys.executable}"]))


def test_quick_takes_the_core_scenarios_and_contenders():
    quick = [name for name, one in plugins.scenarios().items() if one.in_quick]
    assert quick == ["keepalive_small", "short_connections", "bulk_one", "bulk_many", "echo_latency"]
    assert [name for name, one in plugins.contenders().items() if one.in_quick] == ["direct", "usher", "haproxy", "nginx"]


def test_everything_of_the_measuring_document_is_there():
    assert list(plugins.scenarios()) == plugins.SCENARIO_ORDER and list(plugins.contenders()) == plugins.CONTENDER_ORDER
    targets = {name: one.target for name, one in plugins.scenarios().items() if one.target}
    assert targets == {"keepalive_small": 0.85, "short_connections": 0.80, "bulk_one": 0.70, "bulk_many": 0.70}
    assert {name for name, one in plugins.scenarios().items() if one.rounds} == {"short_connections", "echo_latency"}
    assert plugins.scenarios()["short_connections"].rounds == plugins.scenarios()["echo_latency"].rounds == 10


def test_the_order_rotates_with_the_round():
    assert [runner.rotated(["a", "b", "c"], number) for number in range(4)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_only_namespaces_of_dead_runs_are_removed():
    names = ["usher-b1-client", "usher-b2-backend", "usher-b2x-client", "usher-t2-client", "other"]
    assert stale(names, is_alive=lambda pid: pid == 1) == ["usher-b2-backend"]


def test_working_folders_of_dead_runs_are_removed(tmp_path):
    for name in ("usher-b1-x", "usher-b2-x", "usher-t2-x", "usher-bench-2"):
        (tmp_path / name).mkdir()
    main.remove_stale_folders(tmp_path, is_alive=lambda pid: pid == 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["usher-b1-x", "usher-bench-2", "usher-t2-x"]


def test_a_command_in_a_report_names_no_folders():
    assert [main.without_folders(word) for word in ("base=/a/b/usher", "/a/b/", "--quick", "--out=/x/y")] == ["base=usher", "b", "--quick", "--out=y"]


def test_a_report_of_the_load_generator_is_checked(tmp_path):
    path = tmp_path / "load.json"
    with pytest.raises(Spoiled, match="wrote no report; it said: why"):
        loader.parse_report(path, 1, "why")
    path.write_text("{")
    with pytest.raises(Spoiled, match="no JSON"):
        loader.parse_report(path, 0, "")
    path.write_text('{"total": {}}')
    with pytest.raises(Spoiled, match="no 'measured'"):
        loader.parse_report(path, 0, "")
    with pytest.raises(Spoiled, match="command line: unknown option"):
        loader.parse_report(path, 2, "unknown option")


def test_units_and_errors_are_read_from_the_report():
    counts = {"requests": 5, "connects": 2, "bytes_sent": 2**29, "bytes_received": 2**29}
    report = {"total": counts, "measured": counts, "errors": {"reset": 2, "timeout": 0, "total": 2}}
    assert [loader.units_of(report, unit) for unit in ("request", "connection", "GiB")] == [5, 2, 1.0]
    assert loader.errors_of(report) == {"reset": 2} and loader.errors_of({"errors": {"total": 3}}) == {"unnamed": 3}
    assert loader.seconds_word(0.25) == "250ms"
