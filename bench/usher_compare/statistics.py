"""Medians, spreads and ratios: the arithmetic of the report, without a clock or a file in it."""
import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median of some rounds and how far they lie apart."""
    median: float
    low: float
    high: float
    count: int

    def as_json(self):
        return dataclasses.asdict(self)


def known(values):
    return [value for value in values if value is not None and math.isfinite(value)]


def median(values):
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def spread(values):
    """Of the values that are known; None where none is."""
    values = known(values)
    return Spread(median(values), min(values), max(values), len(values)) if values else None


def added(contender, direct):
    """{round: CPU per unit} of both, to {round: added CPU per unit}, for the rounds that have both."""
    return {turn: value - direct[turn] for turn, value in contender.items() if turn in direct}


def best(by_name):
    """The name with the lowest median of {name: {round: value}}; None where there is none."""
    medians = {name: median(rounds.values()) for name, rounds in by_name.items() if rounds}
    return min(medians, key=medians.get) if medians else None


def ratios(mine, theirs):
    """{round: ratio}, for the rounds that have both; a peer at or below nothing (noise) gives no ratio."""
    return {turn: value / theirs[turn] for turn, value in mine.items() if theirs.get(turn, 0) > 0}


def whole(one):
    """A spread in whole units: a page of noise over thousands of sessions is none a session."""
    return Spread(*(round(value) for value in (one.median, one.low, one.high)), one.count) if one else None


def within_noise(mine):
    """Whether added CPU can't be told from nothing: some round was at or below it."""
    return mine is not None and mine.low <= 0


def verdict(ratio, target):
    """How a median ratio stands to its target: met, missed, or by the median only where the spread spans it."""
    if ratio is None:
        return "no result (or below noise)"
    if ratio.median <= target:
        return "met" if ratio.high <= target else "met by the median"
    return "missed" if ratio.low > target else "missed by the median"
