"""Small eBPF programs of the tests' own, made by hand: they need no compiler."""
import contextlib
import ctypes
import os
import struct

from .kernel import bpf

MAP_CREATE, MAP_LOOKUP, PROG_LOAD, OBJ_PIN = 0, 1, 5, 6  # enum bpf_cmd
ARRAY_MAP, SCHED_CLS = 2, 3
MAP_LOOKUP_HELPER = 1


def instruction(code, to=0, source=0, offset=0, value=0):
    return struct.pack("=BBhi", code, to | source << 4, offset, value)


class Counter:
    """Counts the packets that it meets, and lets them go on (TC_ACT_UNSPEC)."""

    def __init__(self):
        self.map = bpf(MAP_CREATE, ctypes.create_string_buffer(struct.pack("=5I", ARRAY_MAP, 4, 8, 1, 0)))
        program = b"".join([
            instruction(0x62, to=10, offset=-4),                    # *(u32*)(r10 - 4) = 0
            instruction(0xbf, to=2, source=10),                     # r2 = r10
            instruction(0x07, to=2, value=-4),                      # r2 += -4
            instruction(0x18, to=1, source=1, value=self.map), instruction(0),  # r1 = the map
            instruction(0x85, value=MAP_LOOKUP_HELPER),
            instruction(0x15, to=0, offset=2),                      # if r0 == 0 goto + 2
            instruction(0xb7, to=1, value=1),                       # r1 = 1
            instruction(0xdb, to=0, source=1),                      # lock *(u64*)r0 += r1
            instruction(0xb7, to=0, value=-1),                      # r0 = -1
            instruction(0x95),                                      # exit
        ])
        self.code, self.licence = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"GPL")
        attributes = struct.pack("=2I2Q", SCHED_CLS, len(program) // 8, ctypes.addressof(self.code), ctypes.addressof(self.licence))
        self.program = bpf(PROG_LOAD, ctypes.create_string_buffer(attributes, len(attributes)))

    def count(self):
        key, value = ctypes.c_uint32(0), ctypes.c_uint64(0)
        bpf(MAP_LOOKUP, ctypes.create_string_buffer(struct.pack("=2I3Q", self.map, 0, ctypes.addressof(key), ctypes.addressof(value), 0), 32))
        return value.value

    @contextlib.contextmanager
    def pinned(self, path):
        """In a BPF file system, for as long as the block lasts."""
        name = ctypes.create_string_buffer(str(path).encode())
        bpf(OBJ_PIN, ctypes.create_string_buffer(struct.pack("=Q2I", ctypes.addressof(name), self.program, 0), 16))
        try:
            yield path
        finally:
            os.unlink(path)

    def close(self):
        os.close(self.program)
        os.close(self.map)
