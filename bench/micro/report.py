"""The report of the micro-benchmarks: from Google Benchmark's JSON to figures, a table and where the targets stand."""
import json
import re
import statistics

PICK_NS_MAX = 20
MAGLEV_BUILD_US_MAX = 5_000
OTHERS_BUSY_MAX = 0.1  # of one processor
# What Google Benchmark says of each run beside its times, and what is no figure.
KNOWN = {"family_index", "per_family_instance_index", "repetitions", "repetition_index", "threads", "iterations", "real_time", "cpu_time"}


def rounded(number):
    return float(f"{number:.4g}")


def figures_of(benchmarks):
    """{name: {unit, times of each repetition, medians of its counters}}, in the order of the program's source, whatever order they ran in."""
    found = {}
    runs = [entry for entry in benchmarks if entry.get("run_type", "iteration") == "iteration"]
    for entry in sorted(runs, key=lambda entry: (entry.get("family_index", 0), entry.get("per_family_instance_index", 0))):
        found.setdefault(re.sub("/manual_time|/iterations:[0-9]+", "", entry["run_name"]), []).append(entry)
    return {name: figures_of_one(entries) for name, entries in found.items()}


def figures_of_one(entries):
    failed = next((entry for entry in entries if entry.get("error_occurred") or entry.get("skipped")), None)
    if failed:
        return {"not": failed.get("error_message") or failed.get("skip_message", "failed")}
    figures = {"unit": entries[0]["time_unit"], "times": [rounded(entry["real_time"]) for entry in entries]}
    if entries[0].get("label"):
        figures["label"] = entries[0]["label"]
    for counter, value in entries[0].items():
        if counter not in KNOWN and isinstance(value, (int, float)):
            figures[counter] = rounded(statistics.median(entry[counter] for entry in entries))
    return figures


def in_json(whole):
    """A line for each benchmark."""
    about = {key: value for key, value in whole.items() if key != "programs"}
    programs = [f"  {json.dumps(subject)}: {{\n"
                + ",\n".join(f"   {json.dumps(name)}: {json.dumps(figures)}" for name, figures in results.items()) + "\n  }"
                for subject, results in whole["programs"].items()]
    return json.dumps(about, indent=1)[:-2] + ',\n "programs": {\n' + ",\n".join(programs) + "\n }\n}\n"


def figure(number):
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def spread(times):
    return f"{figure(statistics.median(times))} [{figure(min(times))} .. {figure(max(times))}]"


def cell_of(figures):
    if figures is None:
        return ""
    if "not" in figures:
        return figures["not"]
    said = f"{spread(figures['times'])} {figures['unit'].replace('us', 'µs')}"
    if "bytes_per_second" in figures:
        mib = figures["bytes_per_second"] / (1 << 20)
        said += f", {figure(mib / 1024)} GiB/s" if mib >= 1024 else f", {figure(mib)} MiB/s"
    if figures.get("late", 0) >= 0.005:
        said += f", {figures['late'] * 100:.0f} % late"
    return said


def tables_of(results):
    """A table for each set of arguments that benchmarks share: a row a benchmark, a column an argument."""
    families = {}
    for name, figures in results.items():
        parts = name.split("/")
        last = next((i for i, part in enumerate(parts) if part.rpartition(":")[2].isdigit()), len(parts))
        families.setdefault("/".join(parts[:last]), {})[", ".join(part.replace(":", " ") for part in parts[last:])] = figures
    tables = {}
    for family, by_arguments in families.items():
        tables.setdefault(tuple(by_arguments), []).append((family, by_arguments))
    for columns, rows in tables.items():
        yield "| | " + " | ".join(column or "time" for column in columns) + " |"
        yield "|---|" + "---:|" * len(columns)
        for family, by_arguments in rows:
            label = next((figures["label"] for figures in by_arguments.values() if "label" in figures), "")
            yield f"| `{family}`{f' ({label})' if label else ''} | " + " | ".join(cell_of(by_arguments[column]) for column in columns) + " |"
        yield ""


def verdict(times, most):
    if max(times) <= most:
        return "met"
    if statistics.median(times) <= most:
        return "met by the median"
    return "missed by the median" if min(times) <= most else "missed"


def targets_of(whole):
    """The table of targets; what wasn't run isn't judged."""
    yield "| target | measured | |"
    yield "|---|---:|---|"
    for name, figures in whole["programs"].get("policy", {}).items():
        algorithm = re.fullmatch("pick_1/([a-z_]+)/backends:1000", name)
        if algorithm and "times" in figures:
            yield (f"| a pick at 1,000 backends, {algorithm[1]}: {PICK_NS_MAX} ns at most | {cell_of(figures)} | "
                   f"{verdict(figures['times'], PICK_NS_MAX)} |")
    for name, figures in whole["programs"].get("maglev", {}).items():
        weights = re.fullmatch("build/([a-z]+)_weights/slots:65537/backends:1000", name)
        if weights and "times" in figures:
            yield (f"| a Maglev table of 65,537 slots built for 1,000 backends, {weights[1]} weights: {MAGLEV_BUILD_US_MAX:,} µs at most | "
                   f"{cell_of(figures)} | {verdict(figures['times'], MAGLEV_BUILD_US_MAX)} |")
    test = whole["allocation_test"]
    said = "not looked at: test_worker wasn't built" if test is None else "met" if test["passed"] else "missed"
    yield (f"| a session in steady state allocates nothing (tests/unit/worker/allocation_test.cc) | {test['said'] if test else ''} | {said} |")
    yield ""


def in_markdown(whole, lines):
    about = [("measured", f"{whole['repetitions']} repetitions of {whole['min_time_s']} s or more of each benchmark, in random order")]
    about += [("others", f"used {whole['others_busy'] * 100:.0f} % of one processor meanwhile, interrupts included")]
    page = ["# What the parts of usher cost", "", "| | |", "|---|---|"]
    page += [f"| {key} | {value} |" for key, value in [*whole["machine"].items(), *about]]
    page += ["", "Each figure is the time of one thread for one of what its line says: the median of the repetitions, and [least .. most] of "
             "them. A column is an argument, such as the number of backends. Compare within this report, not between machines. "
             "`bench/micro/README.md` says how it is measured; every repetition stands in `results.json`.", ""]
    if whole["others_busy"] > OTHERS_BUSY_MAX:
        page += ["**The machine was used by others meanwhile: these figures are a hint, no more.**", ""]
    page += ["## Targets", "", *targets_of(whole)]
    page += ["\"Met\" is what all repetitions kept to. A pick is that of one backend; three candidates cost what `pick_3` says below.", ""]
    for subject, results in whole["programs"].items():
        page += [f"## {subject}", "", lines[subject]["about"], ""]
        page += [f"* `{key}`: {says}" for key, says in lines[subject].items()
                 if key != "about" and any(name == key or name.startswith(key + "/") for name in results)]
        page += ["", *tables_of(results)]
    return "\n".join(page).rstrip() + "\n"
