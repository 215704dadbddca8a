#!/usr/bin/python3
"""Sends gratuitous ARP nearly all the time, on request: sender.py FIRST_OCTETS DEVICE=MAC...

One device after the other repeats its announcement, and now and then announces an address that is new, counted up
from 1 in the remaining octets. A line on stdin:

    go      starts sending
    pause   stops it, and is answered with the totals so far: {"sent": 1234, "fresh": 56}
    fresh   announces one more address from each device, and is answered in the same way

sent: all frames. fresh: the number of addresses; device n - 1 modulo the number of devices announces number n.
"""

import json
import os
import select
import socket
import struct
import sys
import time

EVERY_S = 0.0005
FRESH_EVERY = 40


def gratuitous(mac, ip):
    ethernet = b"\xff" * 6 + mac + struct.pack("!H", 0x0806)
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + ip + b"\0" * 6 + ip
    return ethernet + arp


def main():
    first, *devices = sys.argv[1:]
    net = bytes(int(octet) for octet in first.split("."))
    senders = []
    for device, mac in (text.split("=") for text in devices):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.bind((device, 0))
        senders.append((sender, bytes.fromhex(mac.replace(":", ""))))
    sent = fresh = 0
    sending = False
    commands = []

    def announce(turn, number):
        sender, mac = senders[turn]
        sender.send(gratuitous(mac, net + (number + 1).to_bytes(4 - len(net), "big")))

    while True:
        # Not through sys.stdin: select() does not see what it has buffered.
        if not commands and select.select([0], [], [], 0 if sending else None)[0]:
            commands = os.read(0, 4096).decode().split()
            if not commands:
                return
        if commands:
            command = commands.pop(0)
            if command == "fresh":
                for number in range(fresh, fresh + len(senders)):
                    announce(number % len(senders), number)
                sent, fresh = sent + len(senders), fresh + len(senders)
            sending = command == "go"
            if not sending:
                print(json.dumps({"sent": sent, "fresh": fresh}), flush=True)
        elif sent % FRESH_EVERY == 0 or fresh < len(senders):
            announce(fresh % len(senders), fresh)
            sent, fresh = sent + 1, fresh + 1
            time.sleep(EVERY_S)
        else:
            # The first frame of each device.
            announce(sent % len(senders), sent % len(senders))
            sent += 1
            time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
