#!/usr/bin/python3
"""Answers for hosts that are probed by unicast through the devices of this namespace.

hosts.py TABLE: a JSON file {DEVICE: {MAC: [IP, ...]}}, read again when it is replaced.
"""

import json
import os
import socket
import sys

from scapy.compat import raw
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

ETH_P_ALL = 0x0003
WHO_HAS, IS_AT = 1, 2


class Table:
    def __init__(self, path):
        self.path = path
        self.version = None
        self.hosts = {}

    def ips(self, device, mac):
        # The inode alone is not enough: that of the table before the last one is free again.
        stat = os.stat(self.path)
        version = (stat.st_ino, stat.st_mtime_ns)
        if version != self.version:
            with open(self.path, encoding="utf-8") as file:
                self.hosts = json.load(file)
            self.version = version
        return self.hosts.get(device, {}).get(mac, [])


def answer(asked, ips):
    mac = asked.dst
    if ARP in asked and asked[ARP].op == WHO_HAS and asked[ARP].pdst in ips:
        arp = asked[ARP]
        return Ether(dst=asked.src, src=mac) / ARP(
            op=IS_AT, hwsrc=mac, psrc=arp.pdst, hwdst=arp.hwsrc, pdst=arp.psrc
        )
    if ICMPv6ND_NS in asked and asked[ICMPv6ND_NS].tgt in ips:
        target = asked[ICMPv6ND_NS].tgt
        return (
            Ether(dst=asked.src, src=mac)
            / IPv6(src=target, dst=asked[IPv6].src, hlim=255)
            / ICMPv6ND_NA(tgt=target, R=0, S=1, O=1)
            / ICMPv6NDOptDstLLAddr(lladdr=mac)
        )
    return None


def main():
    table = Table(sys.argv[1])
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    print("listening", flush=True)
    while True:
        frame, (device, _, kind, *_) = link.recvfrom(2048)
        # A frame to a group address is no probe of one host.
        if kind == socket.PACKET_OUTGOING or frame[0] & 1:
            continue
        asked = Ether(frame)
        ips = table.ips(device, asked.dst)
        reply = answer(asked, ips) if ips else None
        if reply is not None:
            try:
                link.sendto(raw(reply), (device, 0))
            except OSError:
                pass  # The device was deleted meanwhile, and the host with it.


if __name__ == "__main__":
    main()
