#!/usr/bin/python3
"""Sends frames, one a line of hex: send.py packet INTERFACE | send.py frags TAP

packet: through an AF_PACKET socket. frags: as if the TAP had received them, each word of the line in a page of its
own, so that the kernel gets a frame that is not linear (IFF_NAPI_FRAGS).
"""

import fcntl
import os
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NAPI, IFF_NAPI_FRAGS, IFF_NO_PI = 0x0002, 0x0010, 0x0020, 0x1000


def packet(interface):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for line in sys.stdin:
            sender.send(bytes.fromhex(line))


def frags(tap):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    flags = IFF_TAP | IFF_NO_PI | IFF_NAPI | IFF_NAPI_FRAGS
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", tap.encode(), flags))
    for line in sys.stdin:
        os.writev(fd, [bytes.fromhex(piece) for piece in line.split()])
    os.close(fd)


if __name__ == "__main__":
    {"packet": packet, "frags": frags}[sys.argv[1]](sys.argv[2])
