"""Which worker gets a connection: the steering program beside the kernel's own hash, by how evenly sessions are spread."""
import random
import statistics

import pytest

from usher_test.peers import NameServers
from usher_test.clients import receive_line
from usher_test.toml import config, listener, pool
from usher_test.waiting import eventually

WORKERS = 4
SESSIONS = 200
ROUNDS = 12
WITHOUT_BPF = ["setpriv", "--bounding-set=-bpf,-sys_admin,-net_admin,-perfmon", "--inh-caps=-bpf,-sys_admin,-net_admin,-perfmon", "--"]


def spreads(network, usher, front, seed):
    """The standard deviation of the workers' sessions, after each round in which a random half leaves and as many come, one by one."""
    chance = random.Random(seed)
    held, seen = [], []

    def loads():
        rows = usher.metrics().rows("usher_worker_sessions")
        return [value for _, value in rows] if sum(value for _, value in rows) == len(held) else None

    try:
        for _ in range(ROUNDS):
            while len(held) < SESSIONS:
                held.append(network.client.connect(front))
                receive_line(held[-1])
            seen.append(statistics.pstdev(eventually(loads, what="every session is counted")))
            chance.shuffle(held)
            for client in held[SESSIONS // 2:]:
                client.close()
            del held[SESSIONS // 2:]
            eventually(loads, what="what left is counted")
    finally:
        for client in held:
            client.close()
    return seen


def test_sessions_are_spread_more_evenly_than_by_the_kernels_hash(bench, network, make_usher, front, front6):
    servers = NameServers(bench, ["a", "b"])
    found = {}
    for name, prefix, address in (("steered", [], front), ("hashed", WITHOUT_BPF, front6)):
        usher = make_usher(config(listener(address.text), pool(servers.pairs), workers=WORKERS), prefix=prefix).start()
        says = next(line for line in usher.process.output().splitlines() if "steering: " in line)
        if name == "steered" and "steering: kernel hash" in says:
            pytest.skip(f"no steering here: {says}")
        assert ("steering: kernel hash" in says) == (name == "hashed"), says
        found[name] = spreads(network, usher, address, seed=7)
        usher.expect_only(served=SESSIONS + (ROUNDS - 1) * SESSIONS // 2)
    means = {name: statistics.mean(values) for name, values in found.items()}
    print(f"standard deviation of {SESSIONS} sessions over {WORKERS} workers, mean of {ROUNDS} rounds (seed 7): {means}")
    # A hash that is blind leaves sqrt(200 * 1/4 * 3/4) = 6 or so.
    assert means["steered"] < means["hashed"] / 2, found
