"""Finds the contenders and the scenarios: one file each, loaded from their folders."""
import difflib
import importlib.util
import pathlib

from .failure import UsageError

BENCH = pathlib.Path(__file__).resolve().parents[1]


def load_folder(folder, constant):
    """{name: class} of every file in `folder` that has `constant`, in the order of MEASURE where that is known."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"usher_compare_plugin_{path.parent.name}_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        plugin = getattr(module, constant, None)
        if plugin is not None:
            found[plugin.name] = plugin
    return found


CONTENDER_ORDER = ["direct", "usher", "kernel", "haproxy", "haproxy_nosplice", "nginx", "nftables"]
SCENARIO_ORDER = ["keepalive_small", "short_connections", "bulk_one", "bulk_many", "echo_latency", "idle_many", "churn", "slow_reader",
                  "one_backend_dies"]


def in_order(found, order):
    return {name: found[name] for name in sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))}


def contenders():
    return in_order(load_folder(BENCH / "contenders", "CONTENDER"), CONTENDER_ORDER)


def scenarios():
    return in_order(load_folder(BENCH / "scenarios", "SCENARIO"), SCENARIO_ORDER)


def choose(kind, wanted, known):
    """Those of `known` that were asked for, by name, in that order; UsageError names the nearest for one that isn't there."""
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.4)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UsageError(f"there is no {kind} '{name}'{hint} (known: {', '.join(known)})")
    return list(dict.fromkeys(wanted))
