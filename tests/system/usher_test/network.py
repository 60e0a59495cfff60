"""Three network namespaces, client - balancer - backend, joined by veth pairs; plain loopback where the machine forbids them."""
import contextlib
import ctypes
import errno
import itertools
import os
import re
import signal
import socket
import subprocess

from .waiting import SLOWNESS

CLONE_NEWNET = 0x40000000
CONNECT_SECONDS = 10.0
FIRST_PORT, LAST_PORT = 10000, 29999  # below the ephemeral range
NAME = re.compile(r"^usher-t(\d+)-")

_libc = ctypes.CDLL(None, use_errno=True)


def _run(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)


def _setns(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


class AlreadyReset:
    """Stands for a socket whose connection was reset before connect(2) had returned; behaves like one."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def close(self):
        pass

    def settimeout(self, _):
        pass

    def shutdown(self, _):
        raise OSError(errno.ENOTCONN, "reset already")

    def _raise(self, *_):
        raise ConnectionResetError(errno.ECONNRESET, "reset already")

    recv = recv_into = send = sendall = _raise


class Place:
    """One end of the world: where a process runs and a socket lives. `name` is None on plain loopback."""

    def __init__(self, name, ip4, ip6):
        self.name, self.ip4, self.ip6 = name, ip4, ip6

    def address(self, family=socket.AF_INET):
        return self.ip4 if family == socket.AF_INET else self.ip6

    def command(self, argv):
        """The command line that runs `argv` here; the process id stays that of `argv`."""
        argv = [str(word) for word in argv]
        return argv if self.name is None else ["nsenter", f"--net=/run/netns/{self.name}", "--", *argv]

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is here for as long as the block lasts; sockets made inside stay here for life."""
        if self.name is None:
            yield
            return
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def new_socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        with self.entered():
            return socket.socket(family, kind)

    def listen(self, family=socket.AF_INET, port=0, backlog=128):
        """A listening socket at this place's address, owned by the test itself."""
        listener = self.new_socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address(family), port or free_port(self, family)))
        listener.listen(backlog)
        listener.settimeout(CONNECT_SECONDS * SLOWNESS)
        return listener

    def connect(self, address, seconds=CONNECT_SECONDS, source=None, receive_buffer_bytes=0):
        """A connected socket from here to (ip, port), with a timeout set."""
        connected = self.new_socket(family_of(address[0]))
        connected.settimeout(seconds * SLOWNESS)
        try:
            if receive_buffer_bytes:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            if source:
                connected.bind(source)
            connected.connect(address)
        except ConnectionResetError:
            # Accepted, and turned away before this side had looked: a timeout makes connect(2) wait in poll(2).
            connected.close()
            return AlreadyReset()
        except BaseException:
            connected.close()
            raise
        return connected

    def sysctl(self, key, value=None):
        """Reads a net.* setting of this place, or sets it."""
        path = "/proc/sys/" + key.replace(".", "/")
        with self.entered(), open(path, "r" if value is None else "w") as setting:
            return setting.read().strip() if value is None else setting.write(value or "\n")  # an empty list is a line, too


def family_of(ip):
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


class Address(tuple):
    """(ip, port), as the socket module wants it; `text` is what usher.toml and curl want."""

    def __new__(cls, ip, port):
        return super().__new__(cls, (ip, port))

    ip = property(lambda self: self[0])
    port = property(lambda self: self[1])
    family = property(lambda self: family_of(self[0]))
    text = property(lambda self: f"[{self[0]}]:{self[1]}" if ":" in self[0] else f"{self[0]}:{self[1]}")


def address_of(bound):
    """The local address of a socket."""
    return Address(*bound.getsockname()[:2])


_ports = itertools.count(FIRST_PORT + (os.getpid() * 97) % 8000)


def free_port(place, family=socket.AF_INET):
    """A port that nobody at `place` uses, and that no earlier call gave away."""
    for port in _ports:
        if port > LAST_PORT:
            raise RuntimeError("the tests ran out of ports")
        with place.new_socket(family) as probe:
            try:
                probe.bind((place.address(family), port))
                return port
            except OSError:
                continue


def fresh_address(place, family=socket.AF_INET):
    return Address(place.address(family), free_port(place, family))


class Network:
    """REQUIRES: close() is called; it is idempotent."""

    def __init__(self):
        self.names = []
        self.why_loopback = None
        remove_stale()
        try:
            self._build()
        except (subprocess.CalledProcessError, OSError) as refused:
            self.close()
            said = (getattr(refused, "stderr", None) or str(refused)).strip()
            self.why_loopback = f"no network namespaces here ({said})"
            self.client = self.balancer = self.backend = Place(None, "127.0.0.1", "::1")

    def _build(self):
        prefix = f"usher-t{os.getpid()}-"
        places = {}
        for part, ip4, ip6 in (("client", "10.77.1.2", "fd77:0:0:1::2"), ("balancer", "10.77.1.1", "fd77:0:0:1::1"),
                               ("backend", "10.77.2.2", "fd77:0:0:2::2")):
            name = prefix + part
            _run("ip", "netns", "add", name)
            self.names.append(name)
            places[part] = Place(name, ip4, ip6)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        self.client, self.balancer, self.backend = places["client"], places["balancer"], places["backend"]
        self._join(self.client, "1")
        self._join(self.backend, "2")
        with self.client.entered():  # proves that a test may enter one
            pass

    def _join(self, far, number):
        near = self.balancer
        _run("ip", "-n", near.name, "link", "add", f"to{number}", "type", "veth", "peer", "name", "up0", "netns", far.name)
        for place, device, host in ((near, f"to{number}", "1"), (far, "up0", "2")):
            _run("ip", "-n", place.name, "address", "add", f"10.77.{number}.{host}/24", "dev", device)
            _run("ip", "-n", place.name, "address", "add", f"fd77:0:0:{number}::{host}/64", "dev", device, "nodad")
            _run("ip", "-n", place.name, "link", "set", device, "up")

    @property
    def separate(self):
        return self.why_loopback is None

    def describe(self):
        return "three namespaces joined by veth" if self.separate else f"plain loopback: {self.why_loopback}"

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
        self.names = []


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def remove_stale():
    """Removes what test runs that died left behind: their namespaces, and the processes in these."""
    try:
        listed = _run("ip", "netns", "list").stdout.split("\n")
    except (subprocess.CalledProcessError, OSError):
        return
    for name in filter(None, (line.split(" ")[0] for line in listed)):
        owner = NAME.match(name)
        if not owner or _alive(int(owner.group(1))):
            continue
        pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
        for pid in pids.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
