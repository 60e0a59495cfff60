"""The report: what stands in it, rendered from a run that never happened."""
import json
import xml.etree.ElementTree

import pytest

from usher_compare import analysis, charts, main, report
from usher_compare.statistics import Spread


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0, "0"), (0.1234, "0.123"), (1.2345, "1.23"), (12.345, "12.3"), (1234.5, "1,234"),
                                             (-3.14159, "-3.14"), (0.00001, "1.0e-05")])
def test_figures_have_three_digits_that_matter(value, text):
    assert report.figure(value) == text


def test_a_single_round_has_no_spread():
    assert report.with_spread(Spread(1.0, 1.0, 1.0, 1)) == "1.00"
    assert report.with_spread(Spread(2.0, 1.0, 3.0, 3), 10) == "20.0 [10.0 .. 30.0]"


def row_of(text, name, after):
    return next(line for line in text[text.index(after):].splitlines() if line.startswith(f"| {name} "))


def test_the_table_shows_added_cpu_with_its_spread_and_the_ratio(results):
    text = report.markdown(results)
    cells = [cell.strip() for cell in row_of(text, r"**usher**", "## keepalive_small").split("|")]
    assert cells[2:4] == ["12.0 [10.0 .. 14.0]", "0.500 [0.350 .. 0.600]"]
    assert "the best peer" in row_of(text, "haproxy", "## keepalive_small")
    assert "(in all 100 [90.0 .. 110])" in row_of(text, "direct", "## keepalive_small")


def test_the_targets_are_judged(results):
    text = report.markdown(results)
    assert "| keepalive_small | added CPU | usher | haproxy | <= 0.85 | 0.500 [0.350 .. 0.600] | met |" in text
    assert "| <= 400 | 480 | missed |" in text


def test_every_table_is_a_table(results):
    header = None
    for line in report.markdown(results).splitlines():
        cells = line.count("|")
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = cells
        else:
            assert cells == header, line


def test_a_quick_and_an_interrupted_run_say_so(results):
    results["settings"]["quick"] = True
    results["interrupted"] = True
    text = report.markdown(results)
    assert "(quick)" in text and "was interrupted" in text


def test_noise_failures_and_repeats_are_warned_about(results):
    scenario = results["scenarios"][0]
    scenario["busy_at_rest"] = [0.001, 0.30, 0.001]
    scenario["failed"] = {"nginx": "errors: reset 3"}
    scenario["spoiled"] = [{"contender": "nginx", "round": 0, "attempt": 0, "why": "errors: reset 3"}]
    said = "\n".join(analysis.warnings(results))
    assert "busy before 1 of 3 rounds (up to 30% of it)" in said and "nginx FAILED: errors: reset 3" in said and "1 turns gave no result" in said
    assert "nginx: **no result**: errors: reset 3" in report.markdown(results)


def test_a_scenario_without_direct_shows_the_whole_machine(results):
    scenario = results["scenarios"][0]
    scenario["contenders"] = scenario["contenders"][1:]
    text = report.markdown(results)
    assert "CPU of the machine" in text and "no result (or below noise)" in text


def test_latency_at_full_load_is_not_shown(results):
    scenario = results["scenarios"][0]
    assert "p99 (µs)" in report.step_table(scenario, analysis.steps(scenario, results["contenders"])[0], results["contenders"])
    for one in scenario["measurements"]:
        one["open_loop"] = False
    assert "p99" not in report.step_table(scenario, analysis.steps(scenario, results["contenders"])[0], results["contenders"])


def test_late_requests_are_a_share_of_those_that_were_measured(results):
    for one in results["scenarios"][1]["measurements"]:
        one["units"], one["latency"]["count"], one["late_sends"] = 1200, 1000, 10
    assert analysis.late_share(results["scenarios"][1], "usher") == pytest.approx(0.01)


def test_a_line_has_gaps_where_a_figure_stands(results):
    pytest.importorskip("matplotlib", reason="python3-matplotlib isn't installed")
    pyplot = charts._pyplot()
    drawing, axes = pyplot.subplots()
    axes.set_xlim(0, 2)
    axes.set_ylim(0, 10)
    values = [(place, axes.text(at, place, "0.87", va="center")) for place, at in ((2, 0.95), (5, 1.5), (8, 0.95))]
    charts.line_beside(drawing, axes, 1.0, values)
    pieces = [tuple(line.get_ydata()) for line in axes.lines]
    pyplot.close(drawing)
    assert len(pieces) == 3 and pieces[0][0] == 0 and pieces[-1][1] == 10
    assert all(first < last for first, last in pieces)
    assert not any(first <= place <= last for first, last in pieces for place in (2, 8)) and any(first < 5 < last for first, last in pieces)


def test_charts_are_xml_and_the_same_twice(results, tmp_path):
    pytest.importorskip("matplotlib", reason="python3-matplotlib isn't installed")
    results["scenarios"].append(results["scenarios"][0] | {"name": "another"})
    drawn = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        assert charts.write(results, folder) is None
        drawn.append({path.name: path.read_text() for path in folder.glob("*.svg")})
    assert drawn[0] == drawn[1]
    assert sorted(drawn[0]) == ["another.svg", "echo_latency.svg", "idle_many.svg", "keepalive_small.svg", "overview.svg"]
    for text in drawn[0].values():
        assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")
    assert "![overview](overview.svg)" in report.markdown(results) and "![keepalive_small](keepalive_small.svg)" in report.markdown(results)


def test_a_report_is_rendered_again_from_its_json(results, tmp_path, capsys):
    report.write(results, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["scenarios"][0]["name"] == "keepalive_small"
    assert main.main(["--render", str(tmp_path), "--out", str(tmp_path / "again")]) == 0
    assert "## Targets" in (tmp_path / "again/report.md").read_text()
    assert "keepalive_small: added CPU of usher to haproxy 0.500" in capsys.readouterr().out
