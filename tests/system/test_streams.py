"""What a byte stream is owed: every byte, in order, at any pace, and its end as it was meant."""
import os
import random
import socket

import pytest

from usher_test.clients import ending, fill, receive_all, receive_exactly, reset_on_close
from usher_test.network import address_of
from usher_test.streams import STREAM_SECONDS, Strand, digest_of, hash_stream, send_stream
from usher_test.toml import config, listener, pool
from usher_test.waiting import SLOWNESS, eventually, observe

ALGORITHMS = ["round_robin", "random", "two_choices", "least_connections", "least_latency", "source_hash", "maglev"]
BULK_BYTES = int(os.environ.get("USHER_TEST_BYTES", 1 << 30))
SLOW_BYTES = min(max(BULK_BYTES, 64 << 20), 256 << 20)  # more than all buffers on the way: net.ipv4.tcp_rmem may allow 32 MiB each
RESIDENT_GROWTH_BYTES_MAX = 16 << 20
SEED = int(os.environ.get("USHER_TEST_SEED", random.SystemRandom().randrange(1 << 32)))


@pytest.fixture
def ends(network, start_usher, front):
    """Both ends of one session, held by the test: an object with usher, client, backend, and session() for another pair."""
    class Ends:
        def __init__(self, receive_buffer_bytes=0, mover="inline", **pool_keys):
            self.listener = network.backend.listen()
            if receive_buffer_bytes:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            self.receive_buffer_bytes = receive_buffer_bytes
            self.sockets = [self.listener]
            self.usher = start_usher(config(listener(front.text), pool([address_of(self.listener).text], **pool_keys), mover=mover))
            made.append(self)
            self.client, self.backend = self.session()

        def session(self):
            client = network.client.connect(front, receive_buffer_bytes=self.receive_buffer_bytes)
            self.sockets.append(client)
            backend, _ = self.listener.accept()
            self.sockets.append(backend)
            for one in (client, backend):
                one.settimeout(STREAM_SECONDS / 2 * SLOWNESS)
            return client, backend

    made = []
    yield Ends
    for one in made:
        for sock in one.sockets:
            sock.close()


@pytest.mark.sanitized
@pytest.mark.seconds(STREAM_SECONDS)
@pytest.mark.parametrize("algorithm, mover", [(algorithm, "inline") for algorithm in ALGORITHMS] + [("round_robin", "ring")])
def test_random_bytes_both_ways_at_once_arrive_whole(ends, algorithm, mover):
    print(f"seed {SEED} (USHER_TEST_SEED), {BULK_BYTES} bytes each way (USHER_TEST_BYTES)")
    both = ends(algorithm=algorithm, mover=mover)
    resident = both.usher.process.resident_bytes()
    up, down = Strand(hash_stream, both.backend), Strand(hash_stream, both.client)
    senders = [Strand(send_stream, both.client, SEED, BULK_BYTES), Strand(send_stream, both.backend, SEED + 2, BULK_BYTES)]
    assert up.get() == (BULK_BYTES, digest_of(SEED, BULK_BYTES))
    assert down.get() == (BULK_BYTES, digest_of(SEED + 2, BULK_BYTES))
    for sender in senders:
        sender.get()
    grown = both.usher.process.resident_bytes() - resident
    assert grown < RESIDENT_GROWTH_BYTES_MAX, f"usher grew by {grown} bytes"
    both.usher.expect_only(served=1)
    seen = both.usher.metrics()
    assert seen.sum("usher_bytes_total", direction="in") == seen.sum("usher_bytes_total", direction="out") == BULK_BYTES


@pytest.mark.sanitized
@pytest.mark.seconds(STREAM_SECONDS)
@pytest.mark.parametrize("slow, mover", [("client", "inline"), ("backend", "inline"), ("client", "ring")])
def test_a_slow_reader_holds_the_sender_back_and_memory_stays_flat(ends, slow, mover):
    both = ends(mover=mover)
    reader, sender = (both.client, both.backend) if slow == "client" else (both.backend, both.client)
    resident = both.usher.process.resident_bytes()
    taken = fill(sender, SLOW_BYTES)
    assert taken < SLOW_BYTES, f"{taken} bytes went to a reader that reads nothing: there is no back-pressure"
    read = 0
    while read < taken:  # reads a little, lets the sender run into the wall again, and looks at usher each time
        read += len(receive_exactly(reader, min(taken - read, 8 << 20)))
        grown = both.usher.process.resident_bytes() - resident
        assert grown < RESIDENT_GROWTH_BYTES_MAX, f"usher grew by {grown} bytes"
        if taken < SLOW_BYTES:
            taken += fill(sender, min(SLOW_BYTES - taken, 4 << 20), stall_seconds=0.1)
    sender.shutdown(socket.SHUT_WR)
    assert receive_all(reader) == b""
    reader.shutdown(socket.SHUT_WR)
    assert receive_all(sender) == b""
    both.usher.expect_only(served=1)


def test_a_stalled_session_does_not_hold_up_the_others(ends):
    both = ends()
    fill(both.backend, SLOW_BYTES)  # the client reads nothing
    for _ in range(8):
        client, backend = both.session()
        client.sendall(b"ping")
        assert receive_exactly(backend, 4) == b"ping"
        backend.sendall(b"pong")
        assert receive_exactly(client, 4) == b"pong"


def test_a_stalled_session_costs_no_processor_time(ends):
    both = ends()
    fill(both.backend, SLOW_BYTES)
    before = both.usher.process.cpu_seconds()
    observe(2.0)
    used = both.usher.process.cpu_seconds() - before
    assert used < 0.3 * SLOWNESS, f"{used} s of processor time in 2 s with nothing to do"


@pytest.mark.sanitized
def test_the_client_finishes_first_and_still_gets_the_answer(ends):
    both = ends()
    both.client.sendall(b"question")
    both.client.shutdown(socket.SHUT_WR)
    assert receive_all(both.backend) == b"question"
    send_stream(both.backend, 1, 3 << 20)
    assert hash_stream(both.client) == (3 << 20, digest_of(1, 3 << 20))
    both.usher.expect_only(served=1)


@pytest.mark.sanitized
def test_the_backend_finishes_first_and_still_gets_the_rest(ends):
    both = ends()
    both.backend.sendall(b"answer")
    both.backend.shutdown(socket.SHUT_WR)
    assert receive_all(both.client) == b"answer"
    send_stream(both.client, 1, 3 << 20)
    assert hash_stream(both.backend) == (3 << 20, digest_of(1, 3 << 20))
    both.usher.expect_only(served=1)


def test_a_fin_is_passed_on_while_the_other_direction_still_flows(ends):
    both = ends()
    down = Strand(hash_stream, both.client)
    sender = Strand(send_stream, both.backend, 5, 32 << 20)
    both.client.shutdown(socket.SHUT_WR)
    assert both.backend.recv(1) == b""
    sender.get()
    assert down.get() == (32 << 20, digest_of(5, 32 << 20))
    both.usher.expect_only(served=1)


@pytest.mark.sanitized
@pytest.mark.parametrize("mover", ["inline", "ring"])
@pytest.mark.parametrize("first", ["client", "backend"])
def test_bytes_right_before_a_fin_are_not_lost_with_a_slow_reader(ends, first, mover):
    both = ends(receive_buffer_bytes=4096, mover=mover)
    sender, reader = (both.client, both.backend) if first == "client" else (both.backend, both.client)
    total = 6 << 20  # more than the buffers on the way hold, so the FIN waits behind bytes in usher's pipe
    sending = Strand(send_stream, sender, 7, total)
    assert hash_stream(reader) == (total, digest_of(7, total))
    sending.get()
    reader.shutdown(socket.SHUT_WR)
    assert receive_all(sender) == b""
    both.usher.expect_only(served=1)


@pytest.mark.sanitized
def test_both_ends_finish_at_once_without_a_byte(ends):
    both = ends()
    both.client.shutdown(socket.SHUT_WR)
    both.backend.shutdown(socket.SHUT_WR)
    assert both.client.recv(1) == b"" and both.backend.recv(1) == b""
    both.usher.expect_only(served=1)


@pytest.mark.sanitized
def test_a_reset_by_the_client_reaches_the_backend_as_a_reset(ends):
    both = ends()
    both.client.sendall(b"x")
    assert receive_exactly(both.backend, 1) == b"x"
    reset_on_close(both.client)
    both.client.close()
    assert ending(both.backend) == "reset"
    both.usher.expect_only(client_gone=1)


@pytest.mark.sanitized
def test_a_reset_by_the_backend_reaches_the_client_as_a_reset(ends):
    both = ends()
    both.backend.sendall(b"x")
    assert receive_exactly(both.client, 1) == b"x"
    reset_on_close(both.backend)
    both.backend.close()
    assert ending(both.client) == "reset"
    both.usher.expect_only(backend_gone=1)


@pytest.mark.parametrize("mover", ["inline", "ring"])
def test_a_reset_in_the_middle_of_bulk_ends_the_session_and_its_bytes_are_accounted_for(ends, mover):
    both = ends(mover=mover)
    sender = Strand(lambda: fill(both.backend, 1 << 30, stall_seconds=0.3))
    receive_exactly(both.client, 8 << 20)
    reset_on_close(both.client)
    both.client.close()
    with pytest.raises(OSError):
        sender.get()
        fill(both.backend, 1 << 30)
    both.usher.expect_only(client_gone=1)


def test_single_bytes_take_turns(ends):
    both = ends()
    for number in range(300):
        both.client.sendall(bytes([number % 256]))
        assert receive_exactly(both.backend, 1) == bytes([number % 256])
        both.backend.sendall(bytes([255 - number % 256]))
        assert receive_exactly(both.client, 1) == bytes([255 - number % 256])


def test_keepalive_is_set_towards_the_client(ends, network):
    both = ends()
    port = both.client.getsockname()[1]

    def timers():
        listed = both.usher.bench.run(["ss", "-Htno", "state", "established", f"dport = :{port}"], place=network.balancer).stdout
        assert "keepalive" in listed, listed
        return True
    eventually(timers, 5, "a keepalive timer on the client's connection")
