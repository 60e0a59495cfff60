"""Three network namespaces, client - balancer - backend, joined by veth pairs, with every setting that matters pinned.

The balancer forwards, so that the client reaches the backend's own address through it: that is `direct`. Names carry the
process id of the run, so a later run knows which of them are left over from one that died (network_namespaces(7), veth(4)).
"""
import contextlib
import ctypes
import os
import re
import signal
import subprocess

from .failure import Failure

CLONE_NEWNET = 0x40000000
NAME = re.compile(r"^usher-b(\d+)-(?:client|balancer|backend)$")
CONGESTION_CONTROL = "cubic"  # of the routes (ip-route(8), congctl): a namespace's default may only be what the machine lets everyone use
COMMAND_SECONDS = 20

# Ports: everything listens below 1024, so the whole rest is free for connections.
SETTINGS = {
    "net/ipv4/ip_local_port_range": "1024 65535",
    "net/ipv4/tcp_tw_reuse": "1",           # short connections would otherwise run out of ports after some seconds
    "net/ipv4/tcp_no_metrics_save": "1",    # a round learns nothing from the one before it
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/core/somaxconn": "4096",
    "net/ipv4/tcp_max_syn_backlog": "4096",
    "net/ipv6/conf/all/disable_ipv6": "1",  # no router solicitations in the middle of a round
    "net/ipv6/conf/default/disable_ipv6": "1",
}
CLIENT_ADDRESSES = 4

_libc = ctypes.CDLL(None, use_errno=True)


def enter(descriptor):
    """Moves the calling thread into the namespace behind `descriptor` (setns(2))."""
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS)
    if done.returncode != 0:
        raise Failure(f"ip {' '.join(words)}: {done.stderr.strip()}; network namespaces need root (CAP_NET_ADMIN and CAP_SYS_ADMIN)")
    return done.stdout


class Place:
    """One of the three namespaces, and the processor that its programs run on."""

    def __init__(self, name, ip, core):
        self.name, self.ip, self.core = name, ip, core
        self.descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is here for as long as the block lasts; sockets made inside stay here for life."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(self.descriptor)
            try:
                yield
            finally:
                enter(home)
        finally:
            os.close(home)

    def set(self, key, value):
        with self.entered(), open(f"/proc/sys/{key}", "w") as setting:
            setting.write(f"{value}\n")  # nothing at all changes nothing: an empty list is an empty line

    def get(self, key):
        with self.entered(), open(f"/proc/sys/{key}") as setting:
            return setting.read().strip()

    def sockets(self):
        """How many TCP sockets are open here (/proc/net/sockstat)."""
        with self.entered(), open("/proc/thread-self/net/sockstat") as counts:
            for line in counts:
                if line.startswith("TCP:"):
                    return int(line.split()[2])
        return 0

    def tracked(self):
        """How many connections netfilter follows here; 0 where the kernel can't."""
        try:
            return int(self.get("net/netfilter/nf_conntrack_count"))
        except FileNotFoundError:
            return 0


class Network:
    """REQUIRES: close() is called; it is idempotent."""

    def __init__(self, balancer_core, other_core, pid=None):
        self.names = []
        self.places = []
        remove_stale()
        prefix = f"usher-b{pid or os.getpid()}-"
        try:
            self.client = self._add(prefix + "client", "10.78.1.2", other_core)
            self.balancer = self._add(prefix + "balancer", "10.78.1.1", balancer_core)
            self.backend = self._add(prefix + "backend", "10.78.2.2", other_core)
            self._join(self.client, "1")
            self._join(self.backend, "2")
            self.client_addresses = [self.client.ip]
            for number in range(1, CLIENT_ADDRESSES):
                extra = f"10.78.1.{10 + number}"
                _ip("-n", self.client.name, "address", "add", f"{extra}/24", "dev", "up0")
                self.client_addresses.append(extra)
            self.balancer.set("net/ipv4/ip_forward", "1")
        except BaseException:
            self.close()
            raise

    def _add(self, name, ip, core):
        _ip("netns", "add", name)
        self.names.append(name)
        place = Place(name, ip, core)
        self.places.append(place)
        for key, value in SETTINGS.items():
            try:
                place.set(key, value)
            except FileNotFoundError:
                if not key.startswith("net/ipv6"):
                    raise Failure(f"this kernel has no {key.replace('/', '.')}") from None
            except OSError as refused:
                raise Failure(f"setting {key.replace('/', '.')} = {value}: {refused.strerror}") from None
        _ip("-n", name, "link", "set", "lo", "up")
        return place

    def _join(self, far, number):
        near = self.balancer
        _ip("-n", near.name, "link", "add", f"to{number}", "type", "veth", "peer", "name", "up0", "netns", far.name)
        for place, device, host in ((near, f"to{number}", "1"), (far, "up0", "2")):
            _ip("-n", place.name, "address", "add", f"10.78.{number}.{host}/24", "dev", device, "noprefixroute")
            _ip("-n", place.name, "link", "set", device, "up")
            _ip("-n", place.name, "route", "add", f"10.78.{number}.0/24", "dev", device, "congctl", CONGESTION_CONTROL)
        _ip("-n", far.name, "route", "add", "default", "via", f"10.78.{number}.1", "congctl", CONGESTION_CONTROL)

    def close(self):
        for place in self.places:
            os.close(place.descriptor)
        self.places = []
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS)
        self.names = []


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def stale(names, is_alive=alive):
    """Those of `names` that belong to a run whose process is gone."""
    return [name for name in names if (owner := NAME.match(name)) and not is_alive(int(owner.group(1)))]


def remove_stale():
    """Removes what runs that died left behind: their namespaces, and the processes in these."""
    try:
        listed = [line.split(" ")[0] for line in _ip("netns", "list").splitlines() if line]
    except FileNotFoundError:
        raise Failure("the program `ip` is missing; tools/install_deps bench installs it (package iproute2)") from None
    for name in stale(listed):
        for pid in _ip("netns", "pids", name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS)
