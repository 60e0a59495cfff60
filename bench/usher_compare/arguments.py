"""The command line of bench/compare."""
import argparse
import os
import pathlib

from .failure import UsageError

QUICK_SECONDS, QUICK_ROUNDS = 1.0, 3
SECONDS, ROUNDS = 3.0, 5

EPILOG = """\
examples:
  bench/compare --quick                                     a first look, in under three minutes
  bench/compare                                             everything, for the record (about forty minutes)
  bench/compare --scenario bulk_one,bulk_many --rounds 9
  bench/compare --scenario keepalive_small --contender direct,haproxy,usher --usher base=OLD/usher --usher new=NEW/usher
  bench/compare --usher inline --usher ring --set ring:mover=ring
"""


class Variant:
    """An usher of its own name: another binary, or other settings."""

    def __init__(self, name, binary=None):
        self.name, self.binary, self.settings = name, binary, {}


def parse_variant(word):
    name, _, path = word.partition("=")
    if not name or not all(letter.isalnum() or letter in "_.-" for letter in name):
        raise UsageError(f"--usher {word}: it is NAME or NAME=PATH, and the name has letters, digits, '_', '.' and '-'")
    if path and not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise UsageError(f"--usher {word}: {path} is no program")
    return Variant(name, pathlib.Path(path).resolve() if path else None)


def parse_setting(word):
    """(variant or None, key, value) of "[VARIANT:]KEY=VALUE"."""
    key, equals, value = word.partition("=")
    variant, colon, last = key.partition(":")
    if not equals or not (last if colon else key):
        raise UsageError(f"--set {word}: it is [VARIANT:]KEY=VALUE, as in mover=ring or ring:pool.idle_timeout=1m")
    return (variant, last, value) if colon else (None, key, value)


def positive(kind):
    def parse(word):
        try:
            value = kind(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{word}' is no number") from None
        if not 0 < value <= 3600:
            raise argparse.ArgumentTypeError(f"{word} is not between 0 and 3600")
        return value
    return parse


def names(words):
    return [name for word in words for name in word.split(",") if name]


def parser():
    out = argparse.ArgumentParser(prog="bench/compare", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EPILOG,
                                  allow_abbrev=False, description="usher beside its peers, in turns, in network namespaces that it makes and "
                                  "removes. Needs root.")
    add = out.add_argument
    add("--scenario", action="append", default=[], metavar="NAME[,NAME]", help="these only (default: all; --list names them)")
    add("--contender", action="append", default=[], metavar="NAME[,NAME]", help="these only; 'usher' stands for every --usher")
    add("--quick", action="store_true",
        help=f"the core scenarios, the main contenders, {QUICK_ROUNDS} rounds of {QUICK_SECONDS:g} s: under three minutes")
    add("--rounds", type=positive(int), metavar="N", help=f"default {ROUNDS}; 10 for short_connections and echo_latency")
    add("--seconds", type=positive(float), metavar="S", help=f"a measurement, without warm-up (default {SECONDS:g})")
    add("--warmup", type=positive(float), default=None, metavar="S", help="default 0.5; quick 0.3")
    add("--out", type=pathlib.Path, metavar="DIR", help="report.md, results.json and charts (default: bench/results/latest)")
    add("--binary-dir", type=pathlib.Path, metavar="DIR",
        help="a build folder with usher and usher-bench; default: builds the release preset")
    add("--usher-bench", type=pathlib.Path, metavar="PATH", help="the load generator, where it isn't in --binary-dir")
    add("--usher", action="append", default=[], metavar="NAME[=PATH]",
        help="an usher as a contender of its own, called usher-NAME; repeat it")
    add("--set", action="append", default=[], metavar="[NAME:]KEY=VALUE",
        help="a key of usher.toml, for all ushers or that one (tables: pool.KEY, listener.KEY)")
    add("--cores", default="0,1", metavar="B,O", help="processors of the balancer, and of client and backend (default 0,1)")
    add("--no-install", action="store_true", help="fail where a peer is missing, instead of installing it")
    add("--render", type=pathlib.Path, metavar="DIR", help="make report and charts again from DIR/results.json; measures nothing")
    add("--list", action="store_true", help="name scenarios and contenders")
    return out


def parse(argv):
    """The parsed command line, with variants and names in order. UsageError for what makes no sense."""
    given = parser().parse_args(argv)
    given.scenario, given.contender = names(given.scenario), names(given.contender)
    variants = [parse_variant(word) for word in given.usher]
    if len({variant.name for variant in variants}) != len(variants):
        raise UsageError("--usher: two have the same name")
    for word in given.set:
        target, key, value = parse_setting(word)
        if not variants and target is None:
            variants = [Variant("")]
        matching = [variant for variant in variants if target is None or variant.name == target]
        if not matching:
            raise UsageError(f"--set {word}: there is no --usher {target}")
        for variant in matching:
            variant.settings[key] = value
    given.variants = variants or [Variant("")]
    try:
        balancer, other = (int(word) for word in given.cores.split(","))
    except ValueError:
        raise UsageError(f"--cores {given.cores}: it is two numbers, as in 0,1") from None
    allowed = os.sched_getaffinity(0)
    for core in (balancer, other):
        if core not in allowed and len(allowed) > 1:
            raise UsageError(f"--cores {given.cores}: this process may use {', '.join(map(str, sorted(allowed)))}")
    given.core_pair = (balancer, other) if len(allowed) > 1 else (min(allowed), min(allowed))
    given.rounds_given = given.rounds is not None
    given.rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    given.seconds = given.seconds or (QUICK_SECONDS if given.quick else SECONDS)
    given.warmup = given.warmup or (0.3 if given.quick else 0.5)
    return given
