"""The knee: the highest rate of an open loop that a contender keeps up with, found by halving. Who measures is given.

A closed loop sends the next request when an answer has come, so under load everything comes in batches, and a batch costs
less a request than one at a time. Its limit is a bound for the knee, never a measure of it.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Effort:
    """What a search may cost; no measurement is longer than the run's own."""
    steps: int             # of halving: the knee is found to 1 / 2^steps of the bound
    bound_seconds: float   # a closed loop
    trial_seconds: float   # an open loop
    warmup_seconds: float


FULL = Effort(5, 0.7, 0.5, 0.2)
QUICK = Effort(3, 0.4, 0.3, 0.1)
TRIES = 2  # a machine that takes a processor away makes a rate look too high, never too low: the better one counts

# Each bears a single stall of 8 ms within 0.3 s, and the queue that it leaves.
ANSWERED_SHARE_MIN = 0.98
LATE_SHARE_MAX = 0.10
P50_SECONDS_MAX = 0.001


def keeps_up(wanted, seconds, measurement):
    """Whether a measurement of `seconds` at the rate `wanted` shows no queue that grows."""
    late = (measurement["late_sends"] or 0) / (wanted * seconds)
    p50 = measurement["latency"].get("p50")
    return (measurement["rate"] >= ANSWERED_SHARE_MIN * wanted and late < LATE_SHARE_MAX
            and p50 is not None and p50 < P50_SECONDS_MAX)


def find(bound, is_kept_up, steps, tries=TRIES):
    """The highest whole rate below `bound` for which `is_kept_up(rate)`, too low by bound / 2^steps at most; None: none of those tried.

    Asks steps x tries times at most. A rate is too high when `tries` answers in a row say so.
    """
    low, high = 0, int(bound)
    for _ in range(steps):
        rate = (low + high) // 2
        if rate <= low:
            break
        if any(is_kept_up(rate) for _ in range(tries)):
            low = rate
        else:
            high = rate
    return low or None


def slowest(knees, families):
    """Whose knee sets the rates for all: the lowest. `direct` balances nothing, so it counts only where it is alone."""
    balancers = {name: rate for name, rate in knees.items() if families[name] != "direct"} or knees
    return min(balancers, key=balancers.get) if balancers else None
