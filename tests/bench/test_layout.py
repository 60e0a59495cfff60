"""The layout of results.json: few lines, and the same when it is read back."""
import json

import pytest

from usher_compare import layout


def test_results_take_one_line_a_measurement_and_are_read_back_as_they_were(results):
    text = layout.dumps(results)
    assert json.loads(text) == results
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
    measurements = [one for scenario in results["scenarios"] for one in scenario["measurements"]]
    assert [json.loads(line) for line in lines if line.startswith('{"contender"')] == measurements
    assert len(lines) < len(measurements) + 60


def test_a_full_run_fits_into_600_lines(results):
    one = results["scenarios"][1]["measurements"][0]
    names = ["direct", "usher", "haproxy", "haproxy_nosplice", "nginx", "nftables"]
    results["contenders"] = {name: results["contenders"]["usher"] | {"configuration": "a line\n" * 30} for name in names}
    results["fingerprint"]["mitigations"] = {f"vulnerability_{number}": "Mitigation: " + "x" * 60 for number in range(8)}
    counts = {"keepalive_small": 30, "short_connections": 60, "bulk_one": 30, "bulk_many": 30, "echo_latency": 180, "idle_many": 60,
              "churn": 25, "slow_reader": 60, "one_backend_dies": 20}
    results["scenarios"] = [results["scenarios"][2] | {"name": name, "title": "A sentence of some length. " * 6, "contenders": names,
                                                       "busy_at_rest": [0.0123456789] * 10, "measurements": [one] * count}
                            for name, count in counts.items()]
    assert layout.dumps(results).count("\n") < 600


@pytest.mark.parametrize("value", [{}, [], {"a": {}}, {"a": []}, [{}], [[], [{}]], {"a": {"b": [1, {"c": []}]}}, None, 1.5, "ü\n",
                                   {"a": "x" * 500}, {"a": {"b": {}}, "c": {}}])
def test_whatever_is_laid_out_reads_back(value):
    assert json.loads(layout.dumps(value)) == value
