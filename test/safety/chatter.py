#!/usr/bin/python3
"""Speaks nearly all the time, when it is told to: chatter.py FIRST_OCTETS DEVICE=MAC...

Again and again one of the devices repeats its gratuitous ARP, and now and then it is about an address that was
never spoken of, counted up from 1 in the octets that are left. A line on stdin:

    go      begins to speak
    pause   ends it, and is answered by how much was said until then: {"said": 1234, "fresh": 56}
    fresh   speaks of one more address from each device, and is answered in the same way

said: all frames. fresh: how many addresses; the device that spoke of number n is number n - 1 modulo the devices.
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
    said = fresh = 0
    speaks = False
    words = []

    def speak(turn, number):
        sender, mac = senders[turn]
        sender.send(gratuitous(mac, net + (number + 1).to_bytes(4 - len(net), "big")))

    while True:
        # Not through sys.stdin, which keeps what select() then does not know of.
        if not words and select.select([0], [], [], 0 if speaks else None)[0]:
            words = os.read(0, 4096).decode().split()
            if not words:
                return
        if words:
            word = words.pop(0)
            if word == "fresh":
                for number in range(fresh, fresh + len(senders)):
                    speak(number % len(senders), number)
                said, fresh = said + len(senders), fresh + len(senders)
            speaks = word == "go"
            if not speaks:
                print(json.dumps({"said": said, "fresh": fresh}), flush=True)
        elif said % FRESH_EVERY == 0 or fresh < len(senders):
            speak(fresh % len(senders), fresh)
            said, fresh = said + 1, fresh + 1
            time.sleep(EVERY_S)
        else:
            # What each device has said first.
            speak(said % len(senders), said % len(senders))
            said += 1
            time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
