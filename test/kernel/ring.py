#!/usr/bin/python3
"""Reads the pinned ring buffer of changes: ring.py PIN SIZE [consume | fill]

Prints {"producer": ..., "consumer": ..., "records": [...]} and leaves the ring unchanged. `consume` moves the
consumer behind the last record. `fill` moves it so far back that the kernel finds no room for a record.
"""

import ctypes
import json
import mmap
import os
import platform
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}[platform.machine()]
BPF_OBJ_GET = 7
BUSY, DISCARD = 1 << 31, 1 << 30
PAGE = mmap.PAGESIZE
CHANGE = struct.Struct("=III6s6sIHH16sQ")  # struct snoopy_change


def open_pin(path):
    name = ctypes.create_string_buffer(path.encode())
    attribute = ctypes.create_string_buffer(struct.pack("=QII", ctypes.addressof(name), 0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(SYS_BPF, BPF_OBJ_GET, attribute, 16)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return fd


def change(data):
    kind, port, old_port, mac, old_mac, bridge, vlan, family, ip, time = CHANGE.unpack(data)
    return {
        "kind": kind,
        "port": port,
        "oldPort": old_port,
        "mac": mac.hex(":"),
        "oldMac": old_mac.hex(":"),
        "bridge": bridge,
        "vlan": vlan,
        "family": family,
        "ip": ip.hex(),
        "timeNs": str(time),
    }


def records(view, at, end, size):
    while at < end:
        length = struct.unpack_from("=I", view, PAGE + at % size)[0]
        if length & BUSY:
            return
        body = PAGE + at % size + 8
        data = view[body : body + (length & ~DISCARD)]
        if not length & DISCARD:
            yield change(data)
        at += (len(data) + 8 + 7) & ~7


def main():
    path, size, *mode = sys.argv[1:]
    size = int(size)
    fd = open_pin(path)
    mine = mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
    theirs = mmap.mmap(fd, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
    consumer = struct.unpack_from("=Q", mine)[0]
    producer = struct.unpack_from("=Q", theirs)[0]
    found = [] if producer - consumer > size else list(records(theirs, consumer, producer, size))
    if mode == ["consume"]:
        struct.pack_into("=Q", mine, 0, producer)
    elif mode == ["fill"]:
        struct.pack_into("=Q", mine, 0, (producer - size) % 2**64)
    print(json.dumps({"producer": producer, "consumer": consumer, "records": found}))


if __name__ == "__main__":
    main()
