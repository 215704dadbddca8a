#!/usr/bin/python3
"""Builds frames with scapy, which shares no code with snoopy.

Reads one JSON object a line and prints each frame as a line of hex:

    {"layers": [["Ether", {"src": "02:00:00:00:01:10"}], ["ARP", {"op": 1}]], "set": {"20": "ff"}, "length": 60}

layers: scapy's names and fields, outermost first; a value {"hex": "00ff"} stands for bytes.
set: bytes to overwrite by offset, after scapy has filled in lengths and checksums.
length: the frame is cut, or padded with zeroes, to this many bytes.
"""

import json
import sys

from scapy.compat import raw
from scapy.layers import inet, inet6, l2
from scapy.packet import Raw

LAYERS = {
    layer.__name__: layer
    for layer in (
        Raw,
        l2.Ether,
        l2.Dot1Q,
        l2.Dot1AD,
        l2.ARP,
        inet.IP,
        inet.TCP,
        inet.UDP,
        inet6.IPv6,
        inet6.IPv6ExtHdrFragment,
        inet6.IPv6ExtHdrHopByHop,
        inet6.ICMPv6EchoRequest,
        inet6.ICMPv6ND_RS,
        inet6.ICMPv6ND_RA,
        inet6.ICMPv6ND_NS,
        inet6.ICMPv6ND_NA,
        inet6.ICMPv6NDOptSrcLLAddr,
        inet6.ICMPv6NDOptDstLLAddr,
        inet6.ICMPv6NDOptMTU,
        inet6.ICMPv6NDOptUnknown,
    )
}


def field(value):
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


def build(spec):
    packet = None
    for name, fields in spec["layers"]:
        layer = LAYERS[name](**{key: field(value) for key, value in fields.items()})
        packet = layer if packet is None else packet / layer
    frame = bytearray(raw(packet))
    for offset, patch in spec.get("set", {}).items():
        patch = bytes.fromhex(patch)
        frame[int(offset) : int(offset) + len(patch)] = patch
    length = spec.get("length", len(frame))
    return bytes(frame[:length]).ljust(length, b"\0")


def main():
    for line in sys.stdin:
        if line.strip():
            print(build(json.loads(line)).hex())


if __name__ == "__main__":
    main()
