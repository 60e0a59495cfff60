"""What the tests of bench/compare share: its package on the path, and a small run that never happened."""
import copy
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
sys.dont_write_bytecode = True


def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: runs the whole comparison, tiny, in network namespaces; needs root and a build")


def measurement(contender, number, cpu, step="", p99=0.002, **changes):
    latency = {"count": 10, "mean": 0.001, "p50": 0.001, "p90": 0.0015, "p99": p99, "p999": 0.003, "max": 0.004, "corrected": True}
    one = {"contender": contender, "round": number, "step": step, "units": 1000, "elapsed_seconds": 1.0, "busy_seconds": cpu * 1000,
           "busy_share": 0.5, "stolen_share": 0.0, "cpu_per_unit": cpu, "own_user_per_unit": cpu / 10, "own_system_per_unit": cpu / 5,
           "switches_per_unit": 0.5, "preemptions_per_unit": 0.01, "rate": 1000.0, "latency": latency, "late_sends": 0, "open_loop": True,
           "loader_busy_share": 0.4, "errors": {}, "extra": {}}
    return one | changes


def scenario(name, measurements, contenders, **changes):
    rounds = 1 + max((one["round"] for one in measurements), default=0)
    one = {"name": name, "title": f"What {name} does.", "unit": "request", "target": None, "target_p99": None, "target_memory": None,
           "chart": "added", "errors_allowed": False, "extras": [], "notes": [], "prepared": {}, "contenders": contenders,
           "rounds_wanted": rounds, "busy_at_rest": [0.001] * rounds, "measurements": measurements, "spoiled": [], "failed": {}}
    return one | changes


def contender(family, peer=False):
    return {"title": f"a {family}", "family": family, "peer": peer, "has_process": family not in ("direct", "nftables"),
            "version": f"{family} 1.0", "configuration": "one line\n"}


CONTENDERS = {"direct": contender("direct"), "usher": contender("usher"), "haproxy": contender("haproxy", True),
              "nginx": contender("nginx", True)}
NAMES = list(CONTENDERS)
# CPU of a request in microseconds, by round. Added: usher 10, 12, 14; haproxy 20, 20, 40; nginx 30, 30, 30.
CPU = {"direct": (100, 110, 90), "usher": (110, 122, 104), "haproxy": (120, 130, 130), "nginx": (130, 140, 120)}


def small_run():
    keepalive = [measurement(name, number, cpu / 1e6) for name, values in CPU.items() for number, cpu in enumerate(values)]
    latency = [measurement(name, number, 0.0001, step, 0.001 * (1 + NAMES.index(name)) + 0.0001 * number)
               for step in ("25%", "50%") for name in NAMES for number in range(2)]
    idle = [measurement(name, 0, 0.0001, "beside", extra={"sessions": 9000, "bytes_per_session": 240.0 * (1 + NAMES.index(name)),
                                                          "process_bytes": 4 << 20} if name != "direct" else {"sessions": 9000}) for name in NAMES]
    return {
        "tool": "bench/compare", "format": 1, "interrupted": False,
        "fingerprint": {"date": "2026-01-01T00:00:00+00:00", "commit": "0123456789ab", "kernel": "6.18", "system": "Debian", "processor": "a CPU",
                        "cores": 2, "memory_gib": 4.0, "hypervisor": "no", "mitigations": {}, "congestion_control": "cubic", "clock_source": "tsc",
                        "load_average": ["0.00"]},
        "settings": {"quick": False, "seconds": 3.0, "warmup": 0.5, "balancer_core": 0, "other_core": 1, "descriptors_max": 20000,
                     "loader_version": "usher-bench 0.1.0", "at_rest_warning": 0.02, "command": "bench/compare"},
        "contenders": CONTENDERS,
        "scenarios": [scenario("keepalive_small", keepalive, NAMES, target=0.85),
                      scenario("echo_latency", latency, NAMES, target_p99=1.0, chart="latency", prepared={"closed_loop_rates": {"usher": 9.0}}),
                      scenario("idle_many", idle, NAMES, target_memory=400, chart="memory", prepared={"sessions": 9000, "wall": "a limit"},
                               extras=[["bytes_per_session", "bytes", "{:,.0f}"], ["process_bytes", "MiB", "mebibytes"]])]}


@pytest.fixture
def results():
    return copy.deepcopy(small_run())
