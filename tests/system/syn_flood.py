"""A SYN flood, bounded: syn_flood.py DEVICE TO_HARDWARE FROM_HARDWARE IP PORT NETWORK SECONDS COUNT_MAX

Sends SYNs to IP:PORT from random addresses of NETWORK (the first two numbers of an IPv4 address) and random ports, on the device of the
namespace that it runs in. Prints how many it has sent.
"""
import random
import socket
import struct
import sys
import time

from usher_test.flood import SOURCE_AT, SYN, frame

LOOK_EVERY = 256


def flood(device, to_hardware, from_hardware, ip, port, network, seconds, count_max):
    draw = random.Random(1)
    packet = bytearray(frame(to_hardware, from_hardware, (f"{network}.0.1", 1), (ip, port), SYN))
    first = socket.inet_aton(f"{network}.0.0")[:2]
    sent = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((device, 0))
        end = time.monotonic() + seconds
        while sent < count_max and time.monotonic() < end:
            for _ in range(LOOK_EVERY):
                packet[SOURCE_AT:SOURCE_AT + 4] = first + struct.pack("!H", draw.getrandbits(16))
                packet[SOURCE_AT + 8:SOURCE_AT + 10] = struct.pack("!H", 1024 + draw.getrandbits(15))
                try:
                    raw.send(packet)
                    sent += 1
                except OSError:  # ENOBUFS: the device's queue is full, as floods have it
                    continue
    print(sent, flush=True)


if __name__ == "__main__":
    flood(*sys.argv[1:5], int(sys.argv[5]), sys.argv[6], float(sys.argv[7]), int(sys.argv[8]))
