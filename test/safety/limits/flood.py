#!/usr/bin/python3
"""Claims many addresses: flood.py forge|hint COUNT SEED DEVICE | flood.py announce COUNT INTERVAL_MS DEVICE

forge: COUNT claims of random MACs and addresses, by ARP requests, replies and advertisements, as fast as possible;
prints "ready" when they are built, and "sending" half a second later. hint: likewise, by messages that are not learned
from: solicitations, ARP Probes and advertisements without the override flag. announce: one new host each interval;
prints a line of JSON for each, with its address and the time (CLOCK_MONOTONIC) just before it was sent.
"""

import json
import random
import socket
import struct
import sys
import time

# Fewer MACs than claims: the kernel takes seconds to list so many MACs of a bridge, which is not tested here.
MACS = 20_000
BROADCAST = b"\xff" * 6
ALL_NODES = bytes.fromhex("333300000001")
SUBNET = bytes.fromhex("20010db8000100000000000000000000")
TO_ALL = bytes.fromhex("ff020000000000000000000000000001")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def arp(operation, mac, ip):
    return BROADCAST + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, operation) + mac + ip + bytes(6) + ip


def advertisement(mac, ip, override=True):
    return neighbor_discovery(mac, ip, 136, (0x20000000 if override else 0), ip, 2)


def solicitation(mac, ip):
    return neighbor_discovery(mac, ip, 135, 0, SUBNET, 1)


def neighbor_discovery(mac, ip, kind, flags, target, option):
    body = struct.pack("!BBHI", kind, 0, 0, flags) + target + bytes([option, 1]) + mac
    value = checksum(ip + TO_ALL + struct.pack("!II", len(body), 58) + body)
    body = body[:2] + struct.pack("!H", value) + body[4:]
    header = struct.pack("!HIHBB", 0x86DD, 6 << 28, len(body), 58, 255)
    return ALL_NODES + mac + header + ip + TO_ALL + body


def forged(count, chance):
    """Half of them next to the existing hosts, in 10.1.0.0/16, but none of 10.1.0.0/24, which belongs to those hosts."""
    for at in range(count):
        mac = bytes([2, 0xBA, 0, 0]) + struct.pack("!H", chance.randrange(MACS))
        if at % 4 == 3:
            yield advertisement(mac, SUBNET[:8] + b"\xba" + chance.randbytes(7))
        else:
            near = bytes([10, 1, chance.randrange(1, 255), chance.randrange(256)])
            far = bytes([chance.randrange(11, 100), *chance.randbytes(3)])
            yield arp(at % 2 + 1, mac, near if chance.random() < 0.5 else far)


def hinting(count, chance):
    for at in range(count):
        mac = bytes([2, 0xBA, 0, 0]) + struct.pack("!H", chance.randrange(MACS))
        ip = SUBNET[:8] + b"\xba" + chance.randbytes(7)
        if at % 4 == 3:
            yield BROADCAST + arp_probe(mac, bytes([10, 1, chance.randrange(1, 255), chance.randrange(256)]))
        else:
            yield advertisement(mac, ip, override=False) if at % 4 == 2 else solicitation(mac, ip)


def arp_probe(mac, ip):
    return mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + mac + bytes(10) + ip


def flood(frames, sender):
    print("ready", flush=True)
    time.sleep(0.5)
    print("sending", flush=True)
    began = time.monotonic_ns()
    for frame in frames:
        sender.send(frame)
    print(json.dumps({"began": began, "ended": time.monotonic_ns()}), flush=True)


def announce(count, interval_ms, sender):
    due = time.monotonic()
    for at in range(count):
        mac, ip = bytes([2, 0, 0, 1, at >> 8, at & 255]), bytes([10, 1, 0, 100 + at])
        now = time.monotonic_ns()
        sender.send(arp(1, mac, ip))
        print(json.dumps({"ip": ".".join(str(part) for part in ip), "sent": now}), flush=True)
        due += interval_ms / 1000
        time.sleep(max(0, due - time.monotonic()))


def main():
    what, count, number, device = sys.argv[1:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((device, 0))
        if what == "announce":
            announce(int(count), int(number), sender)
        else:
            make = {"forge": forged, "hint": hinting}[what]
            flood(list(make(int(count), random.Random(int(number)))), sender)


if __name__ == "__main__":
    main()
