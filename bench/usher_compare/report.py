"""The report: Markdown and JSON of one run. Everything is rendered from results.json, so a report can be made again."""
from . import analysis, layout, stalls
from .analysis import LATENCIES, own_cpu

# What a unit's CPU is shown in: (factor, name).
CPU_UNITS = {"request": (1e6, "µs"), "connection": (1e6, "µs"), "GiB": (1e3, "ms")}


def figure(value, digits=3):
    """Three digits that matter, thousands apart."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    size = abs(value)
    whole = len(str(int(size))) if size >= 1 else 0
    decimals = max(0, digits - whole) if size >= 1 else digits
    return f"{value:,.{decimals}f}" if size >= 0.001 else f"{value:.1e}"


def with_spread(spread, factor=1.0, digits=3):
    if spread is None:
        return "-"
    middle = figure(spread.median * factor, digits)
    return f"{middle} [{figure(spread.low * factor, digits)} .. {figure(spread.high * factor, digits)}]" if spread.count > 1 else middle


def middle(spread, factor=1.0):
    return figure(spread.median * factor) if spread else "-"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]) + "\n"


EXTRA_FACTORS = {"mebibytes": 2**-20, "kibibytes": 2**-10, "milliseconds": 1e3}


def extra_cell(spread, style):
    """`style` is a factor's name or a format."""
    if spread is None:
        return "-"
    if style in EXTRA_FACTORS:
        return with_spread(spread, EXTRA_FACTORS[style])
    if spread.low == spread.high:
        return style.format(spread.median)
    return f"{style.format(spread.median)} [{style.format(spread.low)} .. {style.format(spread.high)}]"


def step_table(scenario, step, contenders):
    factor, name = CPU_UNITS[scenario["unit"]]
    unit = scenario["unit"]
    timed = [(key, title) for key, title in LATENCIES if any(step.latency(one, key) for one in step.contenders)]
    extras = [extra for extra in scenario["extras"] if step.has_extra(extra[0])]
    rate = "MiB/s" if unit == "GiB" else f"{unit}s/s"
    header = ["contender"]
    header += [f"added CPU ({name}/{unit})", "ratio to the best peer"] if step.added else [f"CPU of the machine ({name}/{unit})"]
    header += [f"own CPU ({name}/{unit})", rate]
    header += [f"{title} (µs)" for _, title in timed]
    header += [f"switches/{unit}", f"preemptions/{unit}", "errors"] + [extra[1] for extra in extras]
    rows = []
    for one in step.contenders:
        process = contenders[one]["has_process"]
        if step.families[one] == "direct":
            cpu, ratio = f"(in all {with_spread(step.spread(one, lambda m: m['cpu_per_unit']), factor)})", "-"
        else:
            cpu = with_spread(step.added_spread(one), factor)
            ratio = "the best peer" if one == step.best_peer else with_spread(step.ratio(one))
        cells = [f"**{one}**" if step.families[one] == "usher" else one] + ([cpu, ratio] if step.added else [
            with_spread(step.spread(one, lambda m: m["cpu_per_unit"]), factor)])
        cells += [with_spread(step.spread(one, own_cpu), factor) if process else "-",
                  middle(step.spread(one, lambda m: m["rate"]), 1024 if unit == "GiB" else 1)]
        cells += [middle(step.latency(one, key), 1e6) for key, _ in timed]
        cells += [middle(step.spread(one, lambda m: m["switches_per_unit"])) if process else "-",
                  middle(step.spread(one, lambda m: m["preemptions_per_unit"])) if process else "-", step.errors(one)]
        rows.append(cells + [extra_cell(step.extra(one, key), style) for key, _, style in extras])
    return table(header, rows)


def variants_table(step):
    ushers = step.ushers()
    if len(ushers) < 2:
        return ""
    rows = [[one, *(with_spread(spread) for spread in step.against_first_usher(one))] for one in ushers[1:]]
    header = ["variant", "added CPU", "own CPU", "p99", "p99 of the median tenth"]
    return f"\nAgainst {ushers[0]}, round by round:\n\n" + table(header, rows)


def limits_text(prepared):
    """What everybody can do at most, where a scenario looked for it; reports of before know no knees."""
    limits, knees = prepared.get("closed_loop_rates"), prepared.get("knees")
    if not limits:
        return ""
    if not knees:
        return "Closed-loop limits (requests/s): " + ", ".join(f"{name} {figure(rate)}" for name, rate in limits.items()) + ".\n"
    rows = [[name, figure(rate), figure(knees.get(name)) + (" (sets the rates)" if name == prepared["slowest"] else "")]
            for name, rate in limits.items()]
    said = ("What each can do (requests/s). In a closed loop the next request waits for an answer, so under load all comes in batches, "
            "which are cheaper. The knee is the highest rate of an open loop that was kept up with, found by halving in "
            f"{prepared['steps']} steps, to 1/{2**prepared['steps']} of the limit.\n\n")
    return said + table(["contender", "closed-loop limit", "knee (open loop)"], rows)


def scenario_text(scenario, results):
    rounds = len(scenario["busy_at_rest"])
    wanted = scenario["rounds_wanted"]
    count = f"{rounds} round{'s' if rounds != 1 else ''}" + (f" of the {wanted} that were asked for" if rounds != wanted else "")
    lines = [f"## {scenario['name']}\n", scenario["title"] + "\n", count + ".\n"]
    limits = limits_text(scenario["prepared"])
    lines += [limits] if limits else []
    if scenario["prepared"].get("wall"):
        lines.append(f"{scenario['prepared']['sessions']:,} idle sessions; the wall was {scenario['prepared']['wall']}.\n")
    for step in analysis.steps(scenario, results["contenders"]):
        if step.name:
            lines.append(f"### {step.name}\n")
        lines.append(step_table(scenario, step, results["contenders"]) + variants_table(step))
    lines += [f"{name}: **no result**: {why}\n" for name, why in scenario["failed"].items()]
    lines += [note + "\n" for note in scenario["notes"]]
    lines += [f"![{scenario['name']}]({chart})\n" for chart in scenario.get("charts", [])]
    return "\n".join(lines)


def fingerprint_text(results):
    fingerprint, settings = results["fingerprint"], results["settings"]
    taken_away = "; ".join(stalls.text(one) for one in fingerprint.get("stalls") or [])
    rows = [["date", fingerprint["date"]], ["usher's tree", f"commit {fingerprint['commit']}"],
            ["kernel", f"{fingerprint['kernel']}, {fingerprint['system']}"],
            ["processor", f"{fingerprint['processor']}, {fingerprint['cores']} cores, {fingerprint['memory_gib']} GiB, "
             f"{'virtual machine' if fingerprint['hypervisor'] == 'yes' else 'no hypervisor'}, clock {fingerprint['clock_source']}"],
            ["mitigations", "; ".join(f"{name}: {state}" for name, state in fingerprint["mitigations"].items()) or "none needed"],
            ["network", f"three namespaces joined by veth; {fingerprint['congestion_control']} in each"],
            ["processors", f"balancer on {settings['balancer_core']}, client and backend on {settings['other_core']}"],
            *([["processor taken away", taken_away]] if taken_away else []),
            ["time", f"{settings['seconds']:g} s a measurement after {settings['warmup']:g} s of warm-up"],
            ["load generator", settings["loader_version"]]]
    rows.append(["command", f"`{settings['command']}`"])
    rows += [[name, f"{one['title']}; {one['version']}" if one["version"] else one["title"]] for name, one in results["contenders"].items()]
    return "\n".join(["| | |", "|---|---|"] + [f"| {key} | {value} |" for key, value in rows]) + "\n"


HOW_TO_READ = """\
Figures are medians over the rounds, with [lowest .. highest]. **Added CPU** is the busy time of the whole machine per unit
of work, less the same work through plain IP forwarding (`direct`) in the same round. **Own CPU** is user and system time of
the balancer's processes: less noisy, but blind to what the kernel does for them in interrupts. Ratios are formed round by
round against the peer whose median is best; under 1 is better than that peer. Latency is shown for open loops only, counted
from the moment when a request was due. The **p99 of the median tenth** is the p99 of each tenth of a measurement, and of
these the median: a processor that is taken away for some milliseconds spoils one tenth of it. MSG_ZEROCOPY and hardware
offloads can't be seen on veth.
"""


def targets_text(results):
    rows = analysis.targets(results)
    if not rows:
        return ""
    cells = [[label, what, name, against or "-", f"<= {target:g}", with_spread(spread), verdict]
             for label, what, name, against, target, spread, verdict in rows]
    return "## Targets\n\n" + table(["scenario", "what", "contender", "against", "target", "ratio or value", "it is"], cells)


def markdown(results):
    settings = results["settings"]
    title = "# usher beside its peers" + (" (quick)" if settings["quick"] else "")
    parts = [title + "\n"]
    if settings["quick"]:
        parts.append("A quick run: short measurements and few rounds. Good for a first look, too noisy to quote.\n")
    if results.get("interrupted"):
        parts.append("**This run was interrupted**: what follows is what was finished.\n")
    parts += [fingerprint_text(results), HOW_TO_READ]
    said = analysis.warnings(results)
    if said:
        parts.append("## Warnings\n\n" + "\n".join(f"* {one}" for one in said) + "\n")
    if results.get("overview"):
        parts.append(f"![overview]({results['overview']})\n")
    parts.append(targets_text(results))
    parts += [scenario_text(scenario, results) for scenario in results["scenarios"]]
    configurations = [f"### {name}\n\n```\n{one['configuration'].strip()}\n```\n" for name, one in results["contenders"].items()
                      if one["configuration"]]
    if configurations:
        parts.append("## Configurations\n\nAs they were in this run, for one backend.\n\n" + "\n".join(configurations))
    return "\n".join(part for part in parts if part)


def write(results, folder):
    (folder / "results.json").write_text(layout.dumps(results) + "\n")
    (folder / "report.md").write_text(markdown(results))
