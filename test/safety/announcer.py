#!/usr/bin/python3
"""Announces ever new addresses until SIGINT, then prints how many: announcer.py DEVICE MAC FIRST_OCTETS

Address number n, from 1 on, has n in its last two octets.
"""

import signal
import socket
import struct
import sys
import time

EVERY_S = 0.0003
MOST = 40000

going = True


def end(*_):
    global going
    going = False


def main():
    device, mac, first = sys.argv[1:]
    mac = bytes.fromhex(mac.replace(":", ""))
    net = bytes(int(octet) for octet in first.split("."))
    signal.signal(signal.SIGINT, end)
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind((device, 0))
    count = 0
    while going and count < MOST:
        count += 1
        ip = net + count.to_bytes(2, "big")
        ethernet = b"\xff" * 6 + mac + struct.pack("!H", 0x0806)
        sender.send(ethernet + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + ip + b"\0" * 6 + ip)
        if count == 1:
            print("ready", flush=True)
        time.sleep(EVERY_S)
    print(count, flush=True)


if __name__ == "__main__":
    main()
