"""Clients that the tests hold themselves: exchanges, steady load, and what became of a connection."""
import asyncio
import collections
import errno
import socket
import struct
import threading
import time

from .waiting import SLOWNESS

EXCHANGE_SECONDS = 10.0
PAYLOAD = b"seen by nobody else\n" * 4


def reset_on_close(sock):
    """close() will send a RST instead of a FIN (SO_LINGER of zero seconds, socket(7))."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def receive_exactly(sock, count):
    got = bytearray()
    while len(got) < count:
        chunk = sock.recv(min(count - len(got), 1 << 20))
        if not chunk:
            raise AssertionError(f"the stream ended after {len(got)} of {count} bytes: {bytes(got[:200])!r}")
        got += chunk
    return bytes(got)


def receive_line(sock):
    got = bytearray()
    while not got.endswith(b"\n"):
        chunk = sock.recv(1)
        if not chunk:
            raise AssertionError(f"the stream ended before the end of a line: {bytes(got)!r}")
        got += chunk
    return got.decode().rstrip("\r\n")


def receive_all(sock):
    chunks = []
    while chunk := sock.recv(1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def ending(sock):
    """How the peer ended it: "fin" or "reset"; what still came before is thrown away. Bounded by the socket's timeout."""
    try:
        while sock.recv(1 << 16):
            pass
        return "fin"
    except ConnectionResetError:
        return "reset"


def refused(place, address):
    """Nobody listens there (any more)."""
    try:
        place.connect(address).close()
        return False
    except ConnectionRefusedError:
        return True


def fill(sock, most_bytes, stall_seconds=1.0):
    """Sends until nothing was taken for `stall_seconds`, or `most_bytes` were; how many were taken."""
    block = bytes(1 << 18)
    before = sock.gettimeout()
    sock.settimeout(stall_seconds * SLOWNESS)
    sent = 0
    try:
        while sent < most_bytes:
            sent += sock.send(block[:most_bytes - sent])
    except TimeoutError:
        pass
    finally:
        sock.settimeout(before)
    return sent


async def exchange(loop, place, address, payload=PAYLOAD):
    """Connects, reads the backend's name, has the payload echoed, finishes, and expects the FIN: returns the name."""
    with place.new_socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, tuple(address))
        got = bytearray()
        while b"\n" not in got:
            chunk = await loop.sock_recv(sock, 4096)
            if not chunk:
                raise ConnectionError("closed before the name came")
            got += chunk
        name, _, echoed = bytes(got).partition(b"\n")
        await loop.sock_sendall(sock, payload)
        while len(echoed) < len(payload):
            chunk = await loop.sock_recv(sock, 65536)
            if not chunk:
                raise ConnectionError(f"closed after {len(echoed)} of {len(payload)} bytes")
            echoed += chunk
        if echoed != payload:
            raise ConnectionError("other bytes came back than were sent")
        sock.shutdown(socket.SHUT_WR)
        if await loop.sock_recv(sock, 1):
            raise ConnectionError("bytes after the end")
        return name.decode()


def exchange_once(place, address):
    """One exchange, now; the backend's name."""
    async def once():
        return await asyncio.wait_for(exchange(asyncio.get_running_loop(), place, address), EXCHANGE_SECONDS * SLOWNESS)
    return asyncio.run(once())


def exchange_many(place, address, count, at_once=64):
    """`count` exchanges, `at_once` at a time: a Counter of the backends' names. The first failure ends it."""
    names = collections.Counter()

    async def all_of_them():
        loop = asyncio.get_running_loop()
        left = iter(range(count))

        async def one_after_another():
            for _ in left:
                names[await asyncio.wait_for(exchange(loop, place, address), EXCHANGE_SECONDS * SLOWNESS)] += 1

        await asyncio.gather(*(one_after_another() for _ in range(at_once)))

    asyncio.run(all_of_them())
    return names


class Failure(collections.namedtuple("Failure", "started ended what")):
    """One exchange that went wrong; times on the monotonic clock."""


class SteadyLoad:
    """New connections at a fixed rate (open loop) in a thread of its own, each one exchange. A context manager."""

    def __init__(self, place, address, per_second):
        self.place, self.address, self.per_second = place, address, per_second
        self.names = collections.Counter()
        self.failures = []
        self.started = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="steady load")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """No new connections; waits for those under way, each of which is bounded."""
        self._end.set()
        self._thread.join()

    @property
    def succeeded(self):
        return sum(self.names.values())

    async def _run(self):
        loop = asyncio.get_running_loop()
        under_way = set()
        next_at = loop.time()
        while not self._end.is_set():
            task = loop.create_task(self._one(loop))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            self.started += 1
            next_at += 1.0 / self.per_second
            await asyncio.sleep(max(0.0, next_at - loop.time()))
        while under_way:
            await asyncio.gather(*under_way)

    async def _one(self, loop):
        started = time.monotonic()
        try:
            name = await asyncio.wait_for(exchange(loop, self.place, self.address), EXCHANGE_SECONDS * SLOWNESS)
            self.names[name] += 1
        except (OSError, asyncio.TimeoutError) as wrong:
            what = errno.errorcode.get(getattr(wrong, "errno", None) or 0, "") or repr(wrong)
            self.failures.append(Failure(started, time.monotonic(), what))
