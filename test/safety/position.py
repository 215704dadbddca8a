#!/usr/bin/python3
"""The positions of a pinned ring buffer: position.py PIN [CONSUMER]

Writes the consumer's position if one is given, as any process that may open the pin can. Prints the producer's.
"""

import ctypes
import mmap
import os
import platform
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}[platform.machine()]
BPF_OBJ_GET = 7

name = ctypes.create_string_buffer(sys.argv[1].encode())
attribute = ctypes.create_string_buffer(struct.pack("=QII", ctypes.addressof(name), 0, 0))
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(SYS_BPF, BPF_OBJ_GET, attribute, 16)
if fd < 0:
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), sys.argv[1])
if len(sys.argv) > 2:
    consumer = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
    struct.pack_into("=Q", consumer, 0, int(sys.argv[2]))
producer = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE)
print(struct.unpack_from("=Q", producer)[0])
