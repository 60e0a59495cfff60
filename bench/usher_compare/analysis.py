"""From raw rounds to what the report shows: pure, from the scenarios of results.json."""
from . import statistics, stalls

# What the tables show of a latency: (key, title).
LATENCIES = (("p50", "p50"), ("p99_median_tenth", "p99 of the median tenth"), ("p99", "p99"), ("p999", "p99.9"))
# What is compared between contenders, and judged by target_p99: (key, name in the targets).
P99S = (("p99", "p99 at equal rate"), ("p99_median_tenth", "p99 of the median tenth"))
NFTABLES_TARGET = 0.5  # of its added CPU, where the kernel datapath's can be told from nothing
LATE_SHARE_WARNING = 0.001
KNEE_SHARE_WARNING = 1 / 3


def steps_of(scenario):
    return list(dict.fromkeys(one["step"] for one in scenario["measurements"]))


def by_round(scenario, step, name, value):
    """{round: value(measurement)} of one contender in one step; without those that are unknown."""
    found = {one["round"]: value(one) for one in scenario["measurements"] if one["contender"] == name and one["step"] == step}
    return {turn: number for turn, number in found.items() if number is not None}


def latency_of(one, key):
    """A quantile in seconds, of an open loop only: at full load a latency says how long the queue is, not how fast an answer."""
    return one["latency"].get(key) if one["open_loop"] else None


def own_cpu(one):
    return one["own_user_per_unit"] + one["own_system_per_unit"]


class Step:
    """One step of a scenario: every contender's rounds, and the ratios between them."""

    def __init__(self, scenario, step, contenders):
        self.name = step
        self.scenario = scenario
        self.contenders = [name for name in scenario["contenders"] if by_round(scenario, step, name, own_cpu)]
        self.families = {name: contenders[name]["family"] for name in scenario["contenders"]}
        # Reports of before know the proxy only.
        self.datapaths = {name: contenders[name].get("datapath") or "proxy" for name in scenario["contenders"]}
        self.peers = [name for name in self.contenders if contenders[name]["peer"]]
        self.cpu = {name: self._rounds(name, lambda one: one["cpu_per_unit"]) for name in self.contenders}
        direct = self.direct = next((name for name in self.contenders if self.families[name] == "direct"), None)
        self.added = {}
        if direct:
            self.added = {name: statistics.added(rounds, self.cpu[direct]) for name, rounds in self.cpu.items() if name != direct}
        self.best_peer = statistics.best({name: self.added[name] for name in self.peers if self.added.get(name)})
        # By kind of p99: {contender: rounds}, and the peer that it is compared with.
        self.p99 = {key: {name: self._rounds(name, lambda one: latency_of(one, key)) for name in self.contenders} for key, _ in P99S}
        self.best_peer_p99 = {key: statistics.best({name: rounds[name] for name in self.peers if rounds[name]})
                              for key, rounds in self.p99.items()}

    def _rounds(self, name, value):
        return by_round(self.scenario, self.name, name, value)

    def spread(self, name, value):
        return statistics.spread(self._rounds(name, value).values())

    def added_spread(self, name):
        return statistics.spread(self.added.get(name, {}).values())

    def ratio(self, name):
        """Added CPU against the best peer's, round by round."""
        if name == self.best_peer or not self.best_peer or name not in self.added:
            return None
        return statistics.spread(statistics.ratios(self.added[name], self.added[self.best_peer]).values())

    def ratio_to(self, name, other):
        """Added CPU against one contender's, round by round; None without it."""
        if other not in self.added or name not in self.added:
            return None
        return statistics.spread(statistics.ratios(self.added[name], self.added[other]).values())

    def ratio_p99(self, name, key="p99"):
        return self.ratio_p99_to(name, self.best_peer_p99[key], key)

    def ratio_p99_to(self, name, other, key):
        if name == other or not other:
            return None
        return statistics.spread(statistics.ratios(self.p99[key][name], self.p99[key][other]).values())

    def latency(self, name, key):
        return self.spread(name, lambda one: latency_of(one, key))

    def extra(self, name, key):
        return self.spread(name, lambda one: one["extra"].get(key))

    def has_extra(self, key):
        return any(self.extra(name, key) for name in self.contenders)

    def errors(self, name):
        return sum(sum(one["errors"].values()) for one in self.scenario["measurements"]
                   if one["contender"] == name and one["step"] == self.name)

    def ushers(self):
        return [name for name in self.contenders if self.families[name] == "usher"]

    def against_first_usher(self, name):
        """(added CPU, own CPU, p99, p99 of the median tenth) of an usher against the first usher of the run, round by round."""
        first = self.ushers()[0]

        def both(rounds):
            return statistics.spread(statistics.ratios(rounds(name), rounds(first)).values())

        return (both(lambda one: self.added.get(one, {})), both(lambda one: self._rounds(one, own_cpu)),
                *(both(self.p99[key].get) for key, _ in P99S))


def steps(scenario, contenders):
    return [Step(scenario, step, contenders) for step in steps_of(scenario)]


def p99s_of(step):
    """Those that the report knows: reports of before know no tenths."""
    return [(key, what) for key, what in P99S if key == "p99" or any(step.p99[key].values())]


def proxy_targets(scenario, step, name):
    """Rows of (what, against, target, spread, verdict) for what the proxy should reach."""
    rows = []
    if scenario["target"] is not None:
        rows.append(("added CPU", step.best_peer, scenario["target"], step.ratio(name)))
    if scenario["target_p99"] is not None:
        rows += [(what, step.best_peer_p99[key], scenario["target_p99"], step.ratio_p99(name, key)) for key, what in p99s_of(step)]
    if scenario["target_memory"] is not None and step.has_extra("bytes_per_session"):
        rows.append(("user memory a session (bytes)", None, scenario["target_memory"], step.extra(name, "bytes_per_session")))
    return [(*row, statistics.verdict(row[3], row[2])) for row in rows]


def kernel_targets(scenario, step, name):
    """The same of the kernel datapath: beside the best peer, nftables and plain forwarding."""
    rows = []
    if scenario.get("kernel_target") is not None:
        ratio = step.ratio(name)
        rows.append(("added CPU", step.best_peer, scenario["kernel_target"], ratio, statistics.verdict(ratio, scenario["kernel_target"])))
        nftables = next((one for one in step.contenders if step.families[one] == "nftables"), None)
        if nftables:
            ratio = step.ratio_to(name, nftables)
            met = "met: below noise" if statistics.within_noise(step.added_spread(name)) else statistics.verdict(ratio, NFTABLES_TARGET)
            rows.append(("added CPU", nftables, NFTABLES_TARGET, ratio, met))
    if scenario.get("kernel_target_p99") is not None and step.direct:
        for key, what in p99s_of(step):
            ratio = step.ratio_p99_to(name, step.direct, key)
            rows.append((what, step.direct, scenario["kernel_target_p99"], ratio, statistics.verdict(ratio, scenario["kernel_target_p99"])))
    if scenario.get("kernel_target_memory") is not None and step.has_extra("bytes_per_session"):
        memory = statistics.whole(step.extra(name, "bytes_per_session"))
        rows.append(("user memory a session (bytes)", None, scenario["kernel_target_memory"], memory,
                     statistics.verdict(memory, scenario["kernel_target_memory"])))
    return rows


TARGETS = {"proxy": proxy_targets, "kernel": kernel_targets}


def targets(results):
    """Rows of (scenario, what, usher's name, against, target, spread, verdict) for what each datapath should reach."""
    rows = []
    for scenario in results["scenarios"]:
        for step in steps(scenario, results["contenders"]):
            label = scenario["name"] + (f", {step.name}" if step.name else "")
            for name in step.ushers():
                rows += [(label, what, name, *rest) for what, *rest in TARGETS[step.datapaths[name]](scenario, step, name)]
    return rows


def late_share(scenario, name):
    """The share of requests, in an open loop, whose turn came while every connection was busy."""
    mine = [one for one in scenario["measurements"] if one["contender"] == name]
    units = sum(one["latency"].get("count") or one["units"] for one in mine)  # late ones aren't counted in the warm-up
    return sum(one["late_sends"] or 0 for one in mine) / units if units else 0.0


def stall_warning(fingerprint):
    """That this machine's processors weren't its own; None where they were, or where nobody looked."""
    worst = max(fingerprint.get("stalls") or [], key=lambda one: one["share"], default=None)
    if worst is None or worst["share"] <= stalls.SHARE_WARNING:
        return None
    return (f"before the first scenario, with nothing of this run at work, something took processors away ({stalls.text(worst)}): the p99 "
            "of a whole run tells of the machine as much as of the contender; the p99 of the median tenth bears it better")


def low_knees(prepared):
    """[contender] whose knee is so far below its closed loop's limit that something disturbed the search."""
    limits = prepared.get("closed_loop_rates", {})
    return [name for name, rate in prepared.get("knees", {}).items() if rate < KNEE_SHARE_WARNING * limits[name]]


def warnings(results):
    """What a reader must know before believing a figure."""
    said = [one for one in [stall_warning(results["fingerprint"])] if one]
    for scenario in results["scenarios"]:
        noisy = [share for share in scenario["busy_at_rest"] if share > results["settings"]["at_rest_warning"]]
        if noisy:
            said.append(f"{scenario['name']}: the machine was busy before {len(noisy)} of {len(scenario['busy_at_rest'])} rounds "
                        f"(up to {max(noisy):.0%} of it): others' work is in these figures")
        stolen = max((one["stolen_share"] for one in scenario["measurements"]), default=0)
        if stolen > results["settings"]["at_rest_warning"]:
            said.append(f"{scenario['name']}: the hypervisor took up to {stolen:.0%} of the processors away")
        low = low_knees(scenario["prepared"])
        if low:
            said.append(f"{scenario['name']}: the knee of {', '.join(low)} was found far below the closed-loop limit, as happens on a busy "
                        "machine: the rates may be too low to show a difference")
        late = {name: late_share(scenario, name) for name in scenario["contenders"]}
        late = {name: share for name, share in late.items() if share > LATE_SHARE_WARNING}
        if late:
            said.append(f"{scenario['name']}: requests were sent late, because no connection was free when their turn came (their "
                        "waiting is in the latency): " + ", ".join(f"{name} {share:.1%}" for name, share in late.items()))
        if scenario["spoiled"]:
            said.append(f"{scenario['name']}: {len(scenario['spoiled'])} turns gave no result and were repeated or given up: "
                        + "; ".join(sorted({f"{one['contender']}: {one['why'][:160]}" for one in scenario["spoiled"]})))
        for name, why in scenario["failed"].items():
            said.append(f"{scenario['name']}: {name} FAILED: {why}")
    return said
