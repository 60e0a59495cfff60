"""Streams of random bytes, made again from a seed at either end, and threads that send and hash them."""
import functools
import hashlib
import random
import socket
import threading

from .waiting import SLOWNESS

BLOCK_BYTES = (16 << 20) + 4093  # no multiple of a pipe's or a page's size
READ_BYTES = 1 << 20
SEND_BYTES = 1 << 20
STREAM_SECONDS = 120


@functools.lru_cache(maxsize=2)
def block_of(seed):
    return random.Random(seed).randbytes(BLOCK_BYTES)


def pieces(seed, total):
    """A stream of `total` random bytes: one random block, turned by another amount each time that it comes round."""
    block, turns = memoryview(block_of(seed)), random.Random(seed + 1)
    left = total
    while left:
        start = turns.randrange(BLOCK_BYTES)
        for part in (block[start:], block[:start]):
            for at in range(0, len(part), SEND_BYTES):
                piece = part[at:at + SEND_BYTES][:left]
                if not piece:
                    return
                left -= len(piece)
                yield piece


@functools.lru_cache(maxsize=16)
def digest_of(seed, total):
    digest = hashlib.sha256()
    for piece in pieces(seed, total):
        digest.update(piece)
    return digest.hexdigest()


class Strand(threading.Thread):
    """A thread whose failure is the test's failure."""

    def __init__(self, work, *arguments):
        super().__init__(daemon=True)
        self.work, self.arguments = work, arguments
        self.result = self.failure = None
        self.start()

    def run(self):
        try:
            self.result = self.work(*self.arguments)
        except BaseException as failure:  # handed to the test's own thread by get()
            self.failure = failure

    def get(self):
        self.join(STREAM_SECONDS * SLOWNESS)
        assert not self.is_alive(), f"{self.work.__name__} did not end in time"
        if self.failure:
            raise self.failure
        return self.result


def send_stream(sock, seed, total, then_finish=True):
    for piece in pieces(seed, total):
        sock.sendall(piece)
    if then_finish:
        sock.shutdown(socket.SHUT_WR)


def hash_stream(sock):
    """(bytes, sha256) of everything up to the FIN."""
    digest, count, room = hashlib.sha256(), 0, bytearray(READ_BYTES)
    while got := sock.recv_into(room):
        digest.update(memoryview(room)[:got])
        count += got
    return count, digest.hexdigest()
