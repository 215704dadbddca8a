"""bpf(2) through ctypes, as far as the fuzzer needs it: one frame through a program, and a small hash map."""

import ctypes
import os
import platform
import struct

SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}[platform.machine()]
MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, MAP_GET_NEXT_KEY = 1, 2, 3, 4
OBJ_GET, PROG_TEST_RUN = 7, 10
ENOENT = 2

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
LIBC.syscall.restype = ctypes.c_long


def call(command, attribute, size):
    """0 or the positive errno; for OBJ_GET the descriptor."""
    result = LIBC.syscall(SYS_BPF, command, attribute, size)
    return -ctypes.get_errno() if result < 0 else result


def address(buffer):
    return ctypes.addressof(buffer)


def open_pin(path):
    name = ctypes.create_string_buffer(path.encode())
    attribute = ctypes.create_string_buffer(struct.pack("=QII", address(name), 0, 0))
    fd = call(OBJ_GET, attribute, 16)
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd), path)
    return fd


class Map:
    """A pinned map. Keys and values are bytes."""

    def __init__(self, path, key_size, value_size):
        self.fd = open_pin(path)
        self.key = ctypes.create_string_buffer(key_size)
        self.next = ctypes.create_string_buffer(key_size)
        self.value = ctypes.create_string_buffer(value_size)
        # struct { map_fd, key, value or next_key, flags }
        pack = struct.Struct("=I4xQQQ").pack
        self.element = ctypes.create_string_buffer(
            pack(self.fd, address(self.key), address(self.value), 0), 32
        )
        self.first = ctypes.create_string_buffer(pack(self.fd, 0, address(self.next), 0), 32)
        self.following = ctypes.create_string_buffer(
            pack(self.fd, address(self.key), address(self.next), 0), 32
        )

    def lookup(self, key):
        self.key.raw = key
        self.must(call(MAP_LOOKUP_ELEM, self.element, 32))
        return self.value.raw

    def update(self, key, value):
        self.key.raw = key
        self.value.raw = value
        self.must(call(MAP_UPDATE_ELEM, self.element, 32))

    def delete(self, key):
        self.key.raw = key
        self.must(call(MAP_DELETE_ELEM, self.element, 16))

    def take(self):
        """Returns all entries and deletes them."""
        entries = {}
        while True:
            error = call(MAP_GET_NEXT_KEY, self.first, 32)
            if error == -ENOENT:
                return entries
            self.must(error)
            key = self.next.raw
            entries[key] = self.lookup(key)
            self.delete(key)

    @staticmethod
    def must(error):
        if error < 0:
            raise OSError(-error, os.strerror(-error))


class TestRun:
    """A pinned program, run by BPF_PROG_TEST_RUN."""

    MOST = 3500  # A frame and the kernel's data around it fit a page.
    ATTRIBUTE = struct.Struct("=IIIIQQIIIIQQIII4x")

    def __init__(self, path):
        self.fd = open_pin(path)
        self.data_in = ctypes.create_string_buffer(self.MOST)
        self.data_out = ctypes.create_string_buffer(self.MOST)
        self.attribute = ctypes.create_string_buffer(self.ATTRIBUTE.size)
        self.contexts = {}

    def context(self, ifindex):
        """struct __sk_buff up to ifindex, the only field that is set."""
        if ifindex not in self.contexts:
            self.contexts[ifindex] = ctypes.create_string_buffer(struct.pack("=40xI", ifindex), 44)
        return address(self.contexts[ifindex])

    def run(self, frame, ifindex):
        """The result: (errno or 0, return value, frame)."""
        size = len(frame)
        ctypes.memmove(self.data_in, frame, size)
        self.ATTRIBUTE.pack_into(
            self.attribute, 0, self.fd, 0, size, self.MOST, address(self.data_in), address(self.data_out),
            1, 0, 44, 0, self.context(ifindex), 0, 0, 0, 0,
        )  # fmt: skip
        error = call(PROG_TEST_RUN, self.attribute, self.ATTRIBUTE.size)
        if error < 0:
            return -error, 0, b""
        _, verdict, _, out = struct.unpack_from("=IIII", self.attribute)
        return 0, verdict, ctypes.string_at(self.data_out, out)
