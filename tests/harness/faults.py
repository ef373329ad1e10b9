"""Makes things fail under a gateway: its memory, its log, and the network in front of one of its clients."""

import ctypes
import mmap
import pathlib
import socket
import struct
import subprocess

FIELDS = ["fail_nth", "allocations", "failed", "write_error", "write_errors", "short_writes"]


class Faults:
    """The orders of faults.c; .env goes to the gateway that is to obey them. Not for one with a sanitizer,
    which has an allocator of its own."""

    def __init__(self, folder):
        source, library = pathlib.Path(__file__).with_name("faults.c"), folder / "faults.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        orders = folder / "orders"
        orders.write_bytes(bytes(8 * len(FIELDS)))
        with orders.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8 * len(FIELDS))
        self.env = {"LD_PRELOAD": str(library), "FAULT_ORDERS": str(orders)}

    def get(self, field):
        return struct.unpack_from("=Q", self.memory, 8 * FIELDS.index(field))[0]

    def set(self, field, value):
        struct.pack_into("=Q", self.memory, 8 * FIELDS.index(field), value)

    def fail_allocation(self, nth):
        """The nth allocation from now fails; 0: none will."""
        self.set("fail_nth", 0)
        self.set("allocations", 0)
        self.set("failed", 0)
        self.set("fail_nth", nth)

    def fail_writes(self, count, error):
        self.set("write_error", error)
        self.set("write_errors", count)


# The network: a filter on a client's own socket (socket(7), SO_ATTACH_FILTER) throws segments away before
# TCP sees them, so they are neither read nor acknowledged. It needs no rights and touches nobody else.

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
LOAD_WORD, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x35, 0x06
RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
KEEP_ALL = 0xFFFFFFFF


def attach_filter(sock, program):
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    memory = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(memory))
    )


def cut(sock):
    """Nothing arrives any more, and so nothing is answered: the peer sees a host that has vanished."""
    attach_filter(sock, [(RETURN, 0, 0, 0)])


def lose(sock, share):
    """So many of the segments (0 to 1) don't arrive."""
    limit = int(share * 2**32)
    program = [
        (LOAD_WORD, 0, 0, RANDOM),
        (JUMP_IF_AT_LEAST, 1, 0, limit),
        (RETURN, 0, 0, 0),
        (RETURN, 0, 0, KEEP_ALL),
    ]
    attach_filter(sock, program)


def mend(sock):
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
