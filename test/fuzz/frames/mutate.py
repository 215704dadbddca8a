"""Frames to try: messages of hosts with every field at random, and every way to break them.

All randomness comes from the generator passed in, so the same seed gives the same frames.
"""

import struct

from scapy.compat import raw
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether

ANN, BOB = "02:00:00:00:01:10", "02:00:00:00:02:20"
PROVISIONED = "02:00:00:00:00:53"
ROUTER = "00:00:5e:00:01:07"
MACS = [ANN, BOB, PROVISIONED, ROUTER, "52:54:00:12:34:56", "fe:ff:ff:ff:ff:ff"]
ODD_MACS = ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "03:00:00:00:01:10"]
IPS = ["192.168.1.10", "192.168.1.11", "192.168.1.53", "10.1.2.3", "203.0.113.9"]
ODD_IPS = [
    *("0.0.0.0", "0.1.2.3", "1.0.0.0", "126.255.255.255", "127.0.0.1", "128.0.0.0", "169.253.255.255"),
    *("169.254.3.4", "169.255.0.0", "223.255.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("192.168.1.1", "192.168.0.255", "192.168.2.0"),
]
IPS6 = ["2001:db8::10", "2001:db8::11", "2001:db8::53", "fd00::9", "2001:db8:0:1::10"]
ODD_IPS6 = [
    *("::", "::1", "::2", "::192.0.2.1", "::1:0:0", "0:0:0:0:1::1", "0:0:1::", "::ffff:192.0.2.1", "::fffe:192.0.2.1"),
    *("::1:ffff:c000:201", "64:ff9b::1", "fe7f:ffff::1", "fe80::10", "fe80::1", "febf:ffff::1", "fec0::1"),
    *("feff::1", "ff00::1", "ff02::1", "ff02::1:ff00:10", "2001:db8::1"),
]
ETH_VLAN, ETH_SERVICE, ETH_ARP, ETH_IP, ETH_IPV6 = 0x8100, 0x88A8, 0x0806, 0x0800, 0x86DD
TYPES = [ETH_VLAN, ETH_SERVICE, ETH_ARP, ETH_IP, ETH_IPV6, 0x9100, 0x8035, 0x88E7, 0x05DC, 0x0600, 0]
BYTES = [0, 1, 2, 4, 6, 8, 24, 32, 58, 64, 127, 128, 135, 136, 254, 255]
# Hop-by-hop, routing, fragment, ESP, AH, ICMPv6, no next header, destination options, mobility, HIP, Shim6, UDP
NEXT_HEADERS = [0, 43, 44, 50, 51, 58, 59, 60, 135, 139, 140, 17]


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    """RFC 1071"""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def network_offset(frame):
    """The part behind Ethernet and all tags, with its EtherType; None where the frame ends before."""
    at = 12
    while len(frame) >= at + 2:
        kind = frame[at] << 8 | frame[at + 1]
        if kind not in (ETH_VLAN, ETH_SERVICE):
            return at + 2, kind
        at += 4
    return None, None


def sum_up(frame):
    """The frame with a correct ICMPv6 checksum, where it has one, so that mutations get past that check."""
    at, kind = network_offset(frame)
    if kind != ETH_IPV6 or len(frame) < at + 44 or frame[at + 6] != 58:
        return frame
    length = frame[at + 4] << 8 | frame[at + 5]
    message = bytearray(frame[at + 40 : at + 40 + length])
    if length < 4 or len(message) < length:
        return frame
    message[2:4] = b"\0\0"
    value = checksum(bytes(frame[at + 8 : at + 40]) + struct.pack("!II", length, 58) + bytes(message))
    return frame[: at + 42] + struct.pack("!H", value) + frame[at + 44 :]


def built_by_scapy():
    """Valid messages, and some that the program does not count: (name, frame)."""
    everyone = {"src": ANN, "dst": "ff:ff:ff:ff:ff:ff"}
    nodes = {"src": ANN, "dst": "33:33:00:00:00:01"}
    ours = {"hwsrc": ANN, "psrc": "192.168.1.10", "pdst": "192.168.1.1"}
    ipv6 = {"src": "2001:db8::10", "dst": "ff02::1", "hlim": 255}
    target = ICMPv6NDOptDstLLAddr(lladdr=ANN)

    def advertisement(**fields):
        return ICMPv6ND_NA(**{"R": 0, "S": 0, "O": 1, "tgt": "2001:db8::10", **fields})

    def filler(units):
        return ICMPv6NDOptUnknown(type=200, len=units, data=bytes(units * 8 - 2))

    def many(*parts):
        packet = parts[0]
        for part in parts[1:]:
            packet = packet / part
        return packet

    packets = {
        "arp request": Ether(**everyone) / ARP(op=1, **ours),
        "arp reply": Ether(**everyone) / ARP(op=2, **ours),
        "arp tagged": Ether(**everyone) / Dot1Q(vlan=10, prio=3) / ARP(op=1, **ours),
        "arp priority tag": Ether(**everyone) / Dot1Q(vlan=0, prio=5) / ARP(op=1, **ours),
        "arp probe": Ether(**everyone) / ARP(op=1, **{**ours, "psrc": "0.0.0.0", "pdst": "192.168.1.10"}),
        "arp two tags": Ether(**everyone) / Dot1AD(vlan=10) / Dot1Q(vlan=10) / ARP(op=1, **ours),
        "na": Ether(**nodes) / IPv6(**ipv6) / advertisement() / target,
        "na tagged": Ether(**nodes) / Dot1Q(vlan=10) / IPv6(**ipv6) / advertisement() / target,
        "na router": Ether(**nodes) / IPv6(**ipv6) / advertisement(R=1) / target,
        "na solicited": Ether(**nodes)
        / IPv6(**{**ipv6, "dst": "2001:db8::1"})
        / advertisement(S=1)
        / target,
        "na from nowhere": Ether(**nodes) / IPv6(**{**ipv6, "src": "::"}) / advertisement() / target,
        "na link-local": Ether(**nodes) / IPv6(**{**ipv6, "src": "fe80::10"}) / advertisement(tgt="fe80::10") / target,
        "na without address": Ether(**nodes) / IPv6(**ipv6) / advertisement(O=0),
        "na answer": Ether(**nodes) / IPv6(**{**ipv6, "dst": "2001:db8::1"}) / advertisement(S=1, O=0),
        "na anycast": Ether(**nodes) / IPv6(**ipv6) / advertisement(O=0) / target,
        "na options": Ether(**nodes) / IPv6(**ipv6) / advertisement() / filler(2) / target / ICMPv6NDOptMTU(),
        "na eight options": many(Ether(**nodes), IPv6(**ipv6), advertisement(), *[filler(1)] * 7, target),
        "na long": Ether(**nodes) / IPv6(**ipv6) / advertisement() / target / filler(100) / filler(51),
        "na too long": Ether(**nodes) / IPv6(**ipv6) / advertisement() / target / filler(100) / filler(52),
        "ns": Ether(**nodes)
        / IPv6(**ipv6)
        / ICMPv6ND_NS(tgt="2001:db8::1")
        / ICMPv6NDOptSrcLLAddr(lladdr=ANN),
        "ns of duplicate address detection": Ether(**nodes)
        / IPv6(**{**ipv6, "src": "::", "dst": "ff02::1:ff00:10"})
        / ICMPv6ND_NS(tgt="2001:db8::10"),
        "na in a fragment": Ether(**nodes) / IPv6(**ipv6) / IPv6ExtHdrFragment(id=7) / advertisement() / target,
        "na behind options": Ether(**nodes) / IPv6(**ipv6) / IPv6ExtHdrHopByHop() / advertisement() / target,
        "router solicitation": Ether(**nodes) / IPv6(**ipv6) / ICMPv6ND_RS(),
        "router advertisement": Ether(**nodes) / IPv6(**ipv6) / ICMPv6ND_RA(),
        "echo request": Ether(**nodes) / IPv6(**ipv6) / ICMPv6EchoRequest(data=b"snoopy"),
        "udp": Ether(**nodes) / IPv6(**ipv6) / UDP(),
        "ipv4": Ether(**nodes) / IP() / UDP(),
    }
    return {name: raw(packet) for name, packet in packets.items()}


def cut(seeds):
    """Each frame at every length."""
    for name, frame in seeds.items():
        for length in range(len(frame) + 1):
            yield f"cut {name}", frame[:length]


def flipped(seeds):
    """Each frame with every single bit of its first 128 octets flipped, with the old checksum and with a correct one."""
    for name, frame in seeds.items():
        for bit in range(min(len(frame), 128) * 8):
            other = bytearray(frame)
            other[bit // 8] ^= 0x80 >> bit % 8
            yield f"flip {name}", bytes(other)
            summed = sum_up(bytes(other))
            if summed != other:
                yield f"flip and sum {name}", summed


class Generator:
    """Endless frames; `most` is the longest that the way into the kernel accepts."""

    def __init__(self, random, seeds, most):
        self.random = random
        self.seeds = list(seeds.values())
        self.most = most
        self.makers = [
            (20, self.message),
            (12, self.bits),
            (10, self.octets),
            (8, self.shorter),
            (6, self.longer),
            (8, self.lengths),
            (8, self.spliced),
            (8, self.tagged),
            (8, self.extension_headers),
            (10, self.option_chain),
            (4, self.noise),
        ]
        self.weights = [weight for weight, _ in self.makers]

    def frames(self, count):
        for _ in range(count):
            ((_, maker),) = self.random.choices(self.makers, self.weights)
            yield maker.__name__, self.fit(maker())

    def fit(self, frame):
        return frame[: self.most].ljust(14, b"\0")

    def rarely(self, probability):
        return self.random.random() < probability

    def odd(self, usual, odd, size):
        """Mostly one of the usual values, sometimes one at the edge of a rule, sometimes anything."""
        draw = self.random.random()
        if draw < 0.8:
            return self.random.choice(usual)
        return self.random.choice(odd) if draw < 0.96 else self.random.randbytes(size)

    def mac(self):
        value = self.odd(MACS, ODD_MACS, 6)
        return value if isinstance(value, bytes) else mac_bytes(value)

    def ip(self):
        value = self.odd(IPS, ODD_IPS, 4)
        return value if isinstance(value, bytes) else bytes(int(part) for part in value.split("."))

    def ip6(self):
        value = self.odd(IPS6, ODD_IPS6, 16)
        return value if isinstance(value, bytes) else PACKED[value]

    def number(self, usual, size):
        if not self.rarely(0.03):
            return usual
        edges = [0, 1, 255, usual + 1, max(usual - 1, 0), self.random.randrange(256**size)]
        return self.random.choice(edges) % 256**size

    def tags(self):
        (count,) = self.random.choices([0, 1, 2, 3], [50, 40, 6, 4])
        tags = b""
        for _ in range(count):
            kind = ETH_SERVICE if self.rarely(0.1) else ETH_VLAN
            vid = self.random.choice([0, 1, 10, 10, 10, 20, 30, 4094, 4095, self.random.randrange(4096)])
            tags += struct.pack("!HH", kind, self.random.randrange(16) << 12 | vid)
        return tags

    def ethernet(self, source, destination, kind):
        return destination + source + self.tags() + struct.pack("!H", kind)

    def message(self):
        """A message as hosts send it, with most of its fields valid."""
        return self.padded(self.arp() if self.rarely(0.4) else self.nd())

    def padded(self, frame):
        draw = self.random.random()
        if draw < 0.2:
            return frame.ljust(60, b"\0")
        if draw < 0.3:
            return frame + self.random.randbytes(self.random.randrange(1, 64))
        return frame.ljust(self.random.randrange(self.most), b"\0") if draw < 0.32 else frame

    def arp(self):
        mac = self.mac()
        source = self.mac() if self.rarely(0.08) else mac
        number = self.number
        kinds = struct.pack("!HHBB", number(1, 2), number(ETH_IP, 2), number(6, 1), number(4, 1))
        operation = number(self.random.choice([1, 2]), 2)
        destination = self.random.choice([b"\xff" * 6, mac_bytes(BOB), self.mac()])
        sender = bytes(4) if self.rarely(0.1) else self.ip()
        body = kinds + struct.pack("!H", operation) + mac + sender + self.mac() + self.ip()
        return self.ethernet(source, destination, ETH_ARP) + body

    def nd(self, options=None, chain=b"", first=58, length=None):
        """`options` in place of the usual ones; `chain` of headers in between, whose first has the number `first`."""
        advertises = not self.rarely(0.3)
        mac, ip, number = self.mac(), self.ip6(), self.number
        source = self.mac() if self.rarely(0.05) else mac
        flags = (0x20 if not self.rarely(0.08) else 0) | (0x80 if self.rarely(0.2) else 0)
        flags |= 0x40 if self.rarely(0.2) else 0
        target = ip if advertises else self.ip6()
        head = struct.pack("!BBHB3s", 136 if advertises else 135, number(0, 1), 0, flags if advertises else 0, b"\0\0\0")
        if options is None:
            options = self.usual_options(mac, 2 if advertises else 1)
        elif callable(options):
            options = options(mac, 2 if advertises else 1)
        message = head + target + options
        size = len(chain) + len(message)
        ipv6_source = ip if not advertises or not self.rarely(0.1) else self.ip6()
        to = self.random.choice(["ff02::1", "ff02::1:ff00:10", "2001:db8::1", "fe80::1"])
        if not advertises and self.rarely(0.2):
            ipv6_source = bytes(16)
        hops = number(255, 1)
        version = 0x60000000 | (self.random.randrange(1 << 28) if self.rarely(0.1) else 0)
        plen = number(size, 2) if length is None else length
        header = struct.pack("!IHBB", version, plen & 0xFFFF, first, hops)
        destination = mac_bytes("33:33:00:00:00:01") if to[0] == "f" else mac_bytes(BOB)
        packet = header + ipv6_source + PACKED[to] + chain + message
        frame = self.ethernet(source, destination, ETH_IPV6) + packet
        return frame if self.rarely(0.04) else sum_up(frame)

    def usual_options(self, mac, kind):
        option = bytes([kind, 1]) + mac
        draw = self.random.random()
        if draw < 0.75:
            return option
        if draw < 0.85:
            return b""
        if draw < 0.9:
            return bytes([3 - kind, 1]) + mac
        others = [bytes([self.random.choice([3, 5, 14, 200]), 1]) + bytes(6) for _ in range(self.random.randrange(4))]
        others.insert(self.random.randrange(len(others) + 1), option)
        return b"".join(others)

    def origin(self):
        return self.random.choice(self.seeds) if self.rarely(0.5) else self.message()

    def summed(self, frame):
        return sum_up(bytes(frame)) if self.rarely(0.7) else bytes(frame)

    def bits(self):
        frame = bytearray(self.origin())
        for _ in range(self.random.choice([1, 1, 2, 3, 8])):
            bit = self.random.randrange(len(frame) * 8)
            frame[bit // 8] ^= 1 << bit % 8
        return self.summed(frame)

    def octets(self):
        frame = bytearray(self.origin())
        for _ in range(self.random.choice([1, 1, 2, 4])):
            frame[self.random.randrange(min(len(frame), 128))] = self.random.choice(BYTES)
        return self.summed(frame)

    def shorter(self):
        frame = self.origin()
        return self.summed(frame[: self.random.randrange(len(frame) + 1)])

    def longer(self):
        frame = self.origin()
        extra = self.random.randbytes(self.random.choice([1, 2, 7, 8, 16, 64, 700]))
        at = len(frame) if self.rarely(0.7) else self.random.randrange(len(frame))
        return self.say_length(frame[:at] + extra + frame[at:])

    def say_length(self, frame):
        """With the actual IPv6 payload length, mostly."""
        at, kind = network_offset(frame)
        if kind == ETH_IPV6 and len(frame) >= at + 40 and self.rarely(0.7):
            frame = frame[: at + 4] + struct.pack("!H", len(frame) - at - 40) + frame[at + 6 :]
        return self.summed(frame)

    def lengths(self):
        """One of the fields that hold a length."""
        frame = bytearray(self.origin())
        at, kind = network_offset(frame)
        fields = {ETH_ARP: [4, 5], ETH_IPV6: [4, 5, 79 - 14]}.get(kind, [0])
        if kind == ETH_IPV6:
            fields += [65 + 8 * self.random.randrange(8)]
        where = at + self.random.choice(fields) if at is not None else 0
        if where < len(frame):
            old = frame[where]
            near = [(old + step) % 256 for step in (-8, -1, 1, 8)]
            frame[where] = self.random.choice([*near, *BYTES])
        return self.summed(frame)

    def spliced(self):
        one, other = self.origin(), self.origin()
        at = self.random.randrange(len(one) + 1)
        of = at if self.rarely(0.5) else self.random.randrange(len(other) + 1)
        return self.summed(one[:at] + other[of:])

    def tagged(self):
        """Inserts tags behind the MACs of a frame that may have tags already."""
        frame = self.origin()
        tags = b""
        for _ in range(self.random.randrange(4)):
            kind = self.random.choice([ETH_VLAN, ETH_VLAN, ETH_SERVICE, 0x9100])
            tags += struct.pack("!HH", kind, self.random.choice([0, 10, 20, 4095, self.random.randrange(65536)]))
        frame = frame[:12] + tags + frame[12:]
        return frame[: self.random.randrange(12, 40)] if self.rarely(0.1) else frame

    def extension_headers(self):
        """A chain of headers before the message: of any kinds, as long as a frame, or with wrong lengths."""
        (count,) = self.random.choices([1, 2, 5, 20, 140], [40, 30, 15, 10, 5])
        kinds = self.random.choice([NEXT_HEADERS, [0], [60], [44], [0, 43, 60], [51]])
        headers = [self.random.choice(kinds) for _ in range(count)]
        chain = b""
        for at, _ in enumerate(headers):
            following = headers[at + 1] if at + 1 < count else 58
            if self.rarely(0.03):
                following = self.random.choice(NEXT_HEADERS)
            size = 0 if not self.rarely(0.1) else self.random.choice([1, 2, 255])
            fragment = self.random.choice([0, 1, 8, 9]) if headers[at] == 44 else 0
            body = bytes([following, size]) + struct.pack("!HI", fragment, 7)
            chain += body + bytes(8 * size if size < 255 and self.rarely(0.8) else 0)
        return self.nd(chain=chain, first=headers[0])

    def option_chain(self):
        """Options in any number and order, with lengths of 0, beyond the end, and the address more than once."""

        def options(mac, kind):
            (count,) = self.random.choices([0, 1, 2, 7, 8, 9, 30, 150, 400], [5, 20, 20, 15, 15, 10, 10, 4, 1])
            named = self.random.randrange(count) if count and not self.rarely(0.1) else None
            chain = b""
            for at in range(count):
                draw = self.random.random()
                if at == named or draw < 0.03:
                    chain += bytes([kind, 1]) + mac
                elif draw < 0.9:
                    units = self.random.choice([1, 1, 1, 2, 5])
                    chain += bytes([self.random.choice([3 - kind, 3, 4, 5, 14, 200]), units]) + bytes(units * 8 - 2)
                elif draw < 0.95:
                    chain += bytes([self.random.choice([kind, 200]), self.random.choice([0, 2, 31, 255])]) + bytes(6)
                else:
                    chain += self.random.randbytes(8)
            return chain[: self.random.randrange(len(chain) + 1)] if self.rarely(0.05) else chain

        return self.nd(options=options)

    def noise(self):
        frame = self.random.randbytes(self.random.choice([14, 15, 20, 42, 54, 60, 86, 300, 1514]))
        if self.rarely(0.8):
            frame = frame[:12] + struct.pack("!H", self.random.choice(TYPES)) + frame[14:]
        if self.rarely(0.3) and len(frame) >= 21:
            frame = frame[:14] + b"\x60" + frame[15:20] + b"\x3a" + frame[21:]
        return frame


def packed_addresses():
    from ipaddress import IPv6Address

    known = [*IPS6, *ODD_IPS6, "ff02::1", "ff02::1:ff00:10", "2001:db8::1", "fe80::1"]
    return {text: IPv6Address(text).packed for text in known}


PACKED = packed_addresses()
