"""One run of bench/compare, from the command line to the report."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import analysis, arguments, charts, fingerprint, knee, plugins, report, runner, stalls
from .contender import Setup
from .failure import Failure, Spoiled, UsageError
from .loader import program_version
from .network import Network, alive
from .processes import raise_descriptor_limit

ROOT = plugins.BENCH.parent
BUILD_SECONDS_MAX = 1800
BUILD = ["cmake", "--build", "--preset", "release", "-j", str(os.cpu_count() or 1), "--target", "usher", "usher-bench"]
FORMAT = 1
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(text):
    print(text, flush=True)


def listing():
    lines = ["scenarios:"]
    lines += [f"  {name:<20} {one.title}" for name, one in plugins.scenarios().items()]
    lines += ["contenders:"] + [f"  {name:<20} {one.title}" for name, one in plugins.contenders().items()]
    return "\n".join(lines)


def missing_programs(contenders):
    """[(program, package)] of what isn't installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    wanted = [("ip", "iproute2")] + [pair for contender in contenders for pair in contender.programs]
    return [(program, package) for program, package in dict.fromkeys(wanted)
            if not (os.path.exists(program) if program.startswith("/") else shutil.which(program, path=path))]


def install(contenders, allowed):
    missing = missing_programs(contenders)
    try:
        import matplotlib  # noqa: F401
        drawn = True
    except ImportError:
        drawn = False
    if not missing and (drawn or not allowed):
        return
    if not allowed:
        raise Failure("missing: " + ", ".join(f"{program} (package {package})" for program, package in missing)
                      + "; run tools/install_deps bench, or leave --no-install out")
    say("installing what is missing: " + ", ".join([package for _, package in missing] + ([] if drawn else ["python3-matplotlib"])))
    done = subprocess.run([ROOT / "tools/install_deps", "bench"], stdin=subprocess.DEVNULL, timeout=BUILD_SECONDS_MAX)
    still = missing_programs(contenders)
    if done.returncode != 0 or still:
        missed = ": still missing " + ", ".join(package for _, package in still) if still else ""
        raise Failure(f"tools/install_deps bench failed{missed}")


def build():
    """A release build of this tree; its folder."""
    say("building the release preset")
    for words in (["cmake", "--preset", "release"], BUILD):
        done = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX)
        if done.returncode != 0:
            raise Failure(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return ROOT / "build/release"


def program_in(folder, name):
    for path in (folder / name, folder / "src" / name, folder / "bin" / name, folder / "sbin" / name):
        if path.is_file() and os.access(path, os.X_OK):
            return path.resolve()
    raise Failure(f"there is no program {name} in {folder} (nor in its src); build it, or give another --binary-dir")


def make_contenders(given, classes, usher_binary):
    names = given.contender or [name for name, one in classes.items() if one.in_quick or not given.quick]
    variants = {f"usher-{one.name}" if one.name else "usher": one for one in given.variants}
    known = [*classes, *(name for name in variants if name not in classes)]
    chosen = []
    for name in plugins.choose("contender", names, known):
        for one, variant in variants.items():
            if name in (one, "usher") and one not in [made.name for made in chosen]:
                chosen.append(classes["usher"](one, variant.binary or usher_binary, variant.settings))
        if name == "kernel":
            chosen.append(classes[name](given.variants[0].binary or usher_binary))
        elif name in classes and name != "usher":
            chosen.append(classes[name]())
    return chosen


def needs_default_usher(given):
    names = given.contender or ["usher"]
    variants = any(name == "usher" or name.startswith("usher-") for name in names) and any(one.binary is None for one in given.variants)
    return variants or ("kernel" in names and given.variants[0].binary is None)


def check_privilege():
    if os.geteuid() != 0:
        raise Failure("network namespaces need root (CAP_NET_ADMIN and CAP_SYS_ADMIN); run it with sudo")


def interrupt(*_):
    """The first signal ends the run; cleaning up and reporting isn't interrupted again."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def remove_stale_folders(folder=None, is_alive=alive):
    """Working folders of runs that were killed; a folder of another one that still runs stays."""
    for path in pathlib.Path(folder or tempfile.gettempdir()).glob("usher-b*-*"):
        owner = re.match(r"usher-b(\d+)-", path.name)
        if owner and path.is_dir() and not path.is_symlink() and not is_alive(int(owner.group(1))):
            shutil.rmtree(path, ignore_errors=True)


def describe(contenders, network, directory, descriptors_max):
    """What the report says of each contender."""
    setup = Setup(network, directory, [("10.78.2.2", 800)], runner.SESSIONS_MAX, descriptors_max)
    return {one.name: {"title": one.title, "family": one.family, "datapath": one.datapath, "peer": one.peer, "has_process": one.has_process, "version": one.version(),
                       "configuration": one.configuration(setup).replace(str(directory), "DIR")} for one in contenders}


def without_folders(word):
    """An argument without the folders of this machine: a report is for others, too."""
    name, equals, value = word.rpartition("=")
    return name + equals + (os.path.basename(value.rstrip("/")) if "/" in value else value)


def settings_of(given, loader, descriptors_max):
    return {"quick": given.quick, "seconds": given.seconds, "warmup": given.warmup, "balancer_core": given.core_pair[0],
            "other_core": given.core_pair[1], "descriptors_max": descriptors_max, "loader_version": program_version(loader),
            "at_rest_warning": runner.AT_REST_WARNING,
            "command": " ".join(["bench/compare", *(without_folders(word) for word in given.argv)])}


def run_scenarios(given, scenarios, contenders, stage, results):
    """Adds one entry for each scenario to `results`, also for one that was interrupted."""
    for scenario in scenarios:
        suited = [one for one in contenders if scenario.suits(one)]
        rounds = given.rounds if given.rounds_given or given.quick else scenario.rounds or given.rounds
        say(f"{scenario.name}: {len(suited)} contenders, {rounds} rounds")
        if not suited:
            say("  none of the chosen contenders can do this")
            continue
        record = runner.Record(scenario, suited, rounds)
        try:
            runner.run_scenario(stage, record, suited, rounds)
        finally:
            if record.measurements or record.failed:
                results["scenarios"].append(record.as_json())
    stage.stop_backends()


def measure(given, scenarios, contenders, loader):
    """Runs everything in namespaces that are gone when this returns; the results."""
    descriptors_max = raise_descriptor_limit()
    remove_stale_folders()
    with contextlib.ExitStack() as cleanup:
        directory = pathlib.Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix=f"usher-b{os.getpid()}-")))
        os.chmod(directory, 0o755)
        network = Network(*given.core_pair)
        cleanup.callback(network.close)
        stage = runner.Stage(network, directory, loader, given.seconds, given.warmup, descriptors_max, say,
                             knee.QUICK if given.quick else knee.FULL)
        cleanup.callback(stage.stop_backends)
        results = {"tool": "bench/compare", "format": FORMAT, "fingerprint": fingerprint.take(ROOT),
                   "settings": settings_of(given, loader, descriptors_max),
                   "contenders": describe(contenders, network, directory, descriptors_max), "interrupted": False, "scenarios": []}
        results["fingerprint"]["stalls"] = stalls.watch(given.core_pair, min(stalls.SECONDS, given.seconds))
        try:
            run_scenarios(given, scenarios, contenders, stage, results)
        except KeyboardInterrupt:
            results["interrupted"] = True
            say("interrupted: ending what runs, and reporting what there is")
    return results


def finish(results, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    said = charts.write(results, folder)
    if said:
        say(said)
    report.write(results, folder)
    for one in analysis.warnings(results):
        say(f"warning: {one}")
    for label, what, name, against, target, spread, verdict in analysis.targets(results):
        to = f" to {against}" if against else ""
        say(f"{label}: {what} of {name}{to} {report.with_spread(spread)} (target <= {target:g}: {verdict})")
    say(f"report: {folder / 'report.md'}")


def run(given):
    if given.list:
        say(listing())
        return 0
    if given.render:
        try:
            results = json.loads((given.render / "results.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise Failure(f"{given.render / 'results.json'}: {error}") from None
        finish(results, given.out or given.render)
        return 0
    started = time.monotonic()
    classes = plugins.contenders()
    every = plugins.scenarios()
    chosen = plugins.choose("scenario", given.scenario, every) or [name for name, one in every.items() if one.in_quick or not given.quick]
    make_contenders(given, classes, None)  # a wrong name is better said before anything is installed or built
    check_privilege()
    install([classes[name] for name in classes if name in (given.contender or classes)], not given.no_install)
    folder = given.binary_dir or (build() if needs_default_usher(given) or not given.usher_bench else ROOT)
    usher = program_in(folder, "usher") if needs_default_usher(given) else None
    loader = given.usher_bench.resolve() if given.usher_bench else program_in(folder, "usher-bench")
    contenders = make_contenders(given, classes, usher)
    if not any(one.family == "direct" for one in contenders):
        say("without `direct` there is no added CPU: only what the balancers' own processes use")
    if given.core_pair[0] == given.core_pair[1]:
        say("warning: one processor for all: the balancer competes with client and backend")
    for number in ENDING_SIGNALS:
        signal.signal(number, interrupt)
    results = measure(given, [every[name]() for name in chosen], contenders, loader)
    if not results["scenarios"]:
        raise Failure("nothing was measured; no report is written")
    finish(results, given.out or plugins.BENCH / "results/latest")
    say(f"took {time.monotonic() - started:.0f} s")
    failed = any(scenario["failed"] for scenario in results["scenarios"])
    return 1 if failed or results["interrupted"] else 0


def main(argv):
    """Exit status: 0 done, 1 failed or a contender failed, 2 usage."""
    try:
        given = arguments.parse(argv)
        given.argv = argv
        return run(given)
    except UsageError as error:
        print(f"bench/compare: {error}", file=sys.stderr)
        return 2
    except (Failure, Spoiled) as error:
        print(f"bench/compare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench/compare: interrupted before anything was measured", file=sys.stderr)
        return 1
