"""The whole comparison, tiny: real namespaces, real contenders, a report without errors, and nothing left behind."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("USHER_BINARY", ROOT / "build/dev/src/usher"))
SECONDS_MAX = 60

pytestmark = pytest.mark.smoke


def why_not():
    if os.geteuid() != 0:
        return "the comparison needs root"
    for program in (BINARY, BINARY.with_name("usher-bench")):
        if not program.exists():
            return f"{program.name} isn't built"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10)
    return f"no network namespaces here ({tried.stderr.strip()})" if tried.returncode else None


@pytest.fixture
def compare(tmp_path):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    out = tmp_path / "out"
    argv = [ROOT / "bench/compare", "--binary-dir", BINARY.parent, "--no-install", "--out", out, "--warmup", "0.1"]

    def start(*words):
        return subprocess.Popen([*argv, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), out
    return start


def namespaces_of(pid):
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10)
    return [line for line in listed.stdout.splitlines() if line.startswith(f"usher-b{pid}-")]


def ended(child, seconds=SECONDS_MAX):
    try:
        return child.communicate(timeout=seconds)[0]
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def test_a_tiny_run_gives_a_report_without_errors_and_leaves_nothing(compare):
    child, out = compare("--scenario", "keepalive_small,bulk_one", "--contender", "direct,usher,haproxy", "--rounds", "1", "--seconds", "0.2")
    said = ended(child)
    assert child.returncode == 0, said
    results = json.loads((out / "results.json").read_text())
    assert [scenario["name"] for scenario in results["scenarios"]] == ["keepalive_small", "bulk_one"]
    for scenario in results["scenarios"]:
        assert scenario["failed"] == {} and sorted(one["contender"] for one in scenario["measurements"]) == ["direct", "haproxy", "usher"]
        for one in scenario["measurements"]:
            assert one["errors"] == {} and one["units"] > 0 and one["busy_seconds"] > 0 and one["rate"] > 0
    report = (out / "report.md").read_text()
    assert "## Targets" in report and "commit" in report and "cubic in each" in report
    assert namespaces_of(child.pid) == []


def test_the_kernel_datapath_serves_alone_and_leaves_nothing(compare):
    child, out = compare("--scenario", "keepalive_small,churn,idle_many", "--contender", "direct,kernel", "--rounds", "1", "--seconds", "0.2")
    said = ended(child)
    assert child.returncode == 0, said
    results = json.loads((out / "results.json").read_text())
    assert results["contenders"]["kernel"]["datapath"] == "kernel"
    assert [(scenario["failed"], scenario["spoiled"]) for scenario in results["scenarios"]] == [({}, [])] * 3, said
    assert namespaces_of(child.pid) == []


def test_latency_is_measured_at_parts_of_the_knee(compare):
    child, out = compare("--scenario", "echo_latency", "--contender", "direct,usher", "--rounds", "1", "--seconds", "0.2")
    said = ended(child)
    assert child.returncode == 0, said
    text = (out / "results.json").read_text()
    results = json.loads(text)
    scenario, = results["scenarios"]
    prepared = scenario["prepared"]
    assert prepared["slowest"] == "usher" and 0 < prepared["knees"]["usher"] < prepared["closed_loop_rates"]["usher"]
    assert prepared["rates"]["50%"] == prepared["knees"]["usher"] // 2
    assert len(scenario["measurements"]) == 6 and all(one["open_loop"] for one in scenario["measurements"])
    assert len(results["fingerprint"]["stalls"]) == len({results["settings"]["balancer_core"], results["settings"]["other_core"]})
    assert sum(line.lstrip().startswith('{"contender"') for line in text.splitlines()) == 6
    assert "| usher |" in (out / "report.md").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_leaves_nothing(compare, number):
    child, out = compare("--scenario", "bulk_one", "--contender", "usher", "--rounds", "100", "--seconds", "0.2")
    deadline = time.monotonic() + 30
    line = ""
    while "round 1 of" not in line and time.monotonic() < deadline and child.poll() is None:
        line = child.stdout.readline()
    child.send_signal(number)
    said = ended(child)
    assert child.returncode == 1 and "interrupted" in said, said
    assert "was interrupted" in (out / "report.md").read_text()
    assert namespaces_of(child.pid) == []


def test_what_a_dead_run_left_is_removed_by_the_next(compare):
    child, _ = compare("--scenario", "bulk_one", "--contender", "direct", "--rounds", "100", "--seconds", "0.2")
    deadline = time.monotonic() + 30
    while len(namespaces_of(child.pid)) < 3 and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.01)
    child.kill()
    ended(child)
    assert len(namespaces_of(child.pid)) == 3
    again, _ = compare("--scenario", "bulk_one", "--contender", "direct", "--rounds", "1", "--seconds", "0.1")
    said = ended(again)
    assert again.returncode == 0, said
    assert namespaces_of(child.pid) == [] and namespaces_of(again.pid) == []
