"""idle_many: as many idle sessions as the limits allow: what they cost in memory, and what the others' latency does."""
from usher_compare import cpu
from usher_compare.failure import Spoiled
from usher_compare.processes import wait_until
from usher_compare.scenario import Scenario

LOAD_CONNECTIONS = 16
LOAD_RATE = 1000
SESSIONS_MAX = 100_000
CONNECT_RATE = 5000
SETTLE_SECONDS = 0.3
CLIENT_PROCESSES = 2
# Some descriptors are the contenders' own: listeners, pipes for sessions that move bytes (usher takes a sixteenth), workers.
RESERVED_DESCRIPTORS = 512
SHARE_FOR_SESSIONS = 15 / 16


def sessions_for(descriptors_max):
    """(how many idle sessions, which limit was the wall): a proxied session costs its balancer two descriptors."""
    fit = int((descriptors_max - RESERVED_DESCRIPTORS) * SHARE_FOR_SESSIONS) // 2 - LOAD_CONNECTIONS
    if fit < SESSIONS_MAX:
        return fit, f"RLIMIT_NOFILE ({descriptors_max:,}) of the balancer, two descriptors a session"
    return SESSIONS_MAX, "this scenario's own limit"


class IdleMany(Scenario):
    name = "idle_many"
    title = "As many idle sessions as the limits allow, and a small HTTP load before and beside them."
    unit = "request"
    backend_kind = "http"
    chart = "memory"
    target_memory = 400
    kernel_target_memory = 0
    extras = (("sessions", "idle sessions", "{:,.0f}"), ("bytes_per_session", "user memory a session (bytes)", "{:,.0f}"),
              ("process_bytes", "user memory in all (MiB)", "mebibytes"))
    notes = ("User memory is Private_Dirty of all processes of the balancer (smaps_rollup), the difference between before and after the "
             "sessions were opened. What a program sets aside at its start isn't in the difference, but in the sum.",)

    def prepare(self, stage, contenders):
        self.prepared = dict(zip(("sessions", "wall"), sessions_for(stage.descriptors_max)))
        return {}

    def small_load(self, turn, step):
        return turn.load("http", f"http://{turn.address}/128", "--connections", LOAD_CONNECTIONS, "--rate", LOAD_RATE, step=step)

    def turn(self, turn):
        sessions = self.prepared["sessions"]
        self.small_load(turn, "alone")
        before = cpu.private_bytes(turn.contender.pids())
        opening = sessions / CONNECT_RATE
        loads = []
        for number in range(CLIENT_PROCESSES):
            share = sessions // CLIENT_PROCESSES + (sessions % CLIENT_PROCESSES if number == 0 else 0)
            addresses = turn.network.client_addresses[number::CLIENT_PROCESSES]
            loads.append(turn.start("idle", turn.address, "--connections", share, "--connect-rate", CONNECT_RATE // CLIENT_PROCESSES,
                                    "--duration", f"{int(opening + turn.seconds + 30)}s", "--bind", *addresses, seconds_max=opening + 60))
        if turn.contender.holds_sockets:
            wait_until(lambda: turn.network.balancer.sockets() >= 2 * sessions, opening + 15,
                       f"{turn.contender.name} holds {sessions:,} idle sessions", turn.contender.process)
        else:
            wait_until(lambda: turn.network.client.sockets() >= sessions, opening + 15, f"{sessions:,} idle connections are open")
        turn.rest(SETTLE_SECONDS)
        after = cpu.private_bytes(turn.contender.pids())
        beside = self.small_load(turn, "beside the idle ones")
        for one in loads:
            one.interrupt()
        reports = [one.finish() for one in loads]
        lost = sum(report.get("idle", {}).get("closed_by_peer", 0) for report in reports)
        if lost:
            raise Spoiled(f"{lost:,} of {sessions:,} idle sessions were closed by the other side")
        beside["extra"] = {"sessions": sessions}
        if turn.contender.has_process:
            beside["extra"].update(bytes_per_session=(after - before) / sessions, process_bytes=after)


SCENARIO = IdleMany
