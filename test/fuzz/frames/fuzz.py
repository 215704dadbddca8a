#!/usr/bin/python3
"""Sends frames through the program and compares the frames that come out, and the bindings, with the model.

fuzz.py ORDERS: a file of JSON, which test/fuzz/frames.test.ts writes; prints the findings as JSON. A job is a kind of
frames and a number, "random 17": the seed, the way into the kernel and the job select the frames.
"""

import errno
import fcntl
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from ipaddress import ip_address

import bpf
import model
import mutate

BLOCK = 500  # Frames in a job.
TC_ACT_UNSPEC = 0xFFFFFFFF
KEY = struct.Struct("=IHH16s")  # struct snoopy_binding_key
BINDING = struct.Struct("=6sBBIIQQQQ6s2xI4x")  # struct snoopy_binding
SEEN_HINT_KEY = struct.Struct("=II")  # struct snoopy_seen_hint_key
SEEN_HINT = struct.Struct("=IHH16s6sBxQ8x")  # struct snoopy_seen_hint
SEEN_SLOTS = 128
AF_INET, AF_INET6 = 2, 10
ENOUGH = 5  # Failures that are printed.


class Refused(Exception):
    """The way into the kernel rejects the frame, so that it never reaches the program."""


class Disturbed(Exception):
    """The frame came out altered, or not at all."""


class ByTestRun:
    """BPF_PROG_TEST_RUN: every frame unchanged, all of it linear, all of its tags inside."""

    most = bpf.TestRun.MOST

    def __init__(self, orders):
        self.program = bpf.TestRun(orders["program"])

    def send(self, frame, port, _random):
        error, verdict, out = self.program.run(frame, port.ifindex)
        if error:
            kind = frame[12:14]
            short = len(frame) < 14 + {b"\x08\x00": 20, b"\x86\xdd": 40}.get(kind, 0)
            if error == errno.EINVAL and short:
                raise Refused
            raise Disturbed(f"BPF_PROG_TEST_RUN: {os.strerror(error)}")
        if verdict != TC_ACT_UNSPEC:
            raise Disturbed(f"the program returned {verdict}")
        if out != frame:
            raise Disturbed(f"it came out as {out.hex()}")
        return False


class ByWire:
    """Through a port of the kernel. The frames that the program lets pass go on to a device where they are captured."""

    def __init__(self, orders):
        self.probe = bpf.Map(orders["probe"], 4, 16)
        self.captured = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.captured.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        self.captured.bind((orders["outlet"], 3))
        self.captured.settimeout(2)

    def send(self, frame, port, chance):
        if len(frame) < 14:
            raise Refused
        self.emit(frame, port, chance)
        # The kernel drops a frame whose tag is cut short when it takes the tag out (skb_vlan_untag).
        if frame[12:14] in (b"\x81\x00", b"\x88\xa8") and len(frame) < 20:
            raise Refused
        try:
            out = self.capture()
        except socket.timeout:
            raise Disturbed("it did not come out") from None
        if out != frame:
            raise Disturbed(f"it came out as {out.hex()}")
        _, linear, _, _ = struct.unpack("=IIII", self.probe.lookup(bytes(4)))
        return not linear

    def capture(self):
        frame, control, _, _ = self.captured.recvmsg(1 << 17, 256)
        status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", control[0][2][:20])
        if status & 16:  # TP_STATUS_VLAN_VALID: the kernel took the outermost tag out.
            frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame


class ByVeth(ByWire):
    """A veth pair. Long frames leave the socket with everything behind the header in pages (PACKET_VNET_HDR)."""

    most = 9000
    paged = 4096

    def __init__(self, orders):
        super().__init__(orders)
        self.plain, self.in_pages = {}, {}
        for port in orders["ports"]:
            for sockets in (self.plain, self.in_pages):
                sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                if sockets is self.in_pages:
                    sender.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
                sender.bind((port["inlet"], 0))
                sockets[port["ifindex"]] = sender

    def emit(self, frame, port, _chance):
        if len(frame) < self.paged:
            self.plain[port.ifindex].send(frame)
        else:
            # struct virtio_net_hdr: only hdr_len is used, which becomes the linear part.
            header = struct.pack("=BBHHHH", 0, 0, 14, 0, 0, 0)
            self.in_pages[port.ifindex].send(header + frame)


class ByTap(ByWire):
    """A TAP device with IFF_NAPI_FRAGS: the frame in as many pages as it is written in pieces."""

    most = 16000
    TUNSETIFF = 0x400454CA
    FLAGS = 0x0002 | 0x0010 | 0x0020 | 0x1000  # IFF_TAP, IFF_NAPI, IFF_NAPI_FRAGS, IFF_NO_PI

    def __init__(self, orders):
        super().__init__(orders)
        self.taps = {}
        for port in orders["ports"]:
            fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(fd, self.TUNSETIFF, struct.pack("16sH22x", port["inlet"].encode(), self.FLAGS))
            self.taps[port["ifindex"]] = fd

    def emit(self, frame, port, chance):
        pieces, at = [], 0
        while at < len(frame):
            # The kernel accepts pieces of at most a page, and 17 of them behind the first.
            size = 14 if at == 0 else chance.choice([1, 3, 8, 20, 40, 200, 1500, 4096])
            if len(pieces) > 8:
                size = 4096
            pieces.append(frame[at : at + size])
            at += size
        os.writev(self.taps[port.ifindex], pieces)


WAYS = {"run": ByTestRun, "veth": ByVeth, "tap": ByTap}


class Bindings:
    """The pinned bindings in the form of the model."""

    def __init__(self, path):
        self.map = bpf.Map(path, KEY.size, BINDING.size)

    @staticmethod
    def key_of(bridge, vlan, ip):
        family = AF_INET if ip.version == 4 else AF_INET6
        return KEY.pack(bridge, vlan, family, ip.packed.ljust(16, b"\0"))

    def put(self, bridge, known):
        for (vlan, ip), bound in known.items():
            mac = mutate.mac_bytes(bound.mac)
            # Last seen at time 0, so that any refresh shows.
            value = BINDING.pack(mac, bound.router, 0, bound.port, 0, 1, 1, 0, 0, bytes(6), 0)
            self.map.update(self.key_of(bridge, vlan, ip), value)

    def take(self, bridge):
        found = {}
        for key, value in self.map.take().items():
            of, vlan, family, ip = KEY.unpack(key)
            mac, flags, _, port, _, _, last_seen, _, _, _, _ = BINDING.unpack(value)
            address = address_of(family, ip)
            where = (vlan, address) if of == bridge else (of, vlan, address)
            found[where] = model.Bound(mac.hex(":"), port, bool(flags & 1), last_seen > 1)
        return found


def address_of(family, ip):
    if family == AF_INET and any(ip[4:]):
        raise Disturbed(f"a key of IPv4 with something behind the address: {ip.hex()}")
    return ip_address(ip[:4] if family == AF_INET else ip)


class Hints:
    """The pinned hints in the form of the model."""

    def __init__(self, path, kinds):
        self.map = bpf.Map(path, SEEN_HINT_KEY.size, SEEN_HINT.size)
        self.kinds = {number: name for name, number in kinds.items()}

    def take(self, bridge):
        """The only hint, or None."""
        found = None
        for key, value in self.map.take().items():
            port, slot = SEEN_HINT_KEY.unpack(key)
            of, vlan, family, ip, mac, kind, time_ns = SEEN_HINT.unpack(value)
            if found is not None or of != bridge or slot >= SEEN_SLOTS or time_ns == 0:
                raise Disturbed(f"an unexpected hint: {key.hex()} {value.hex()}")
            found = model.Hint(vlan, address_of(family, ip), mac.hex(":"), port, self.kinds.get(kind))
        return found


class Counters:
    def __init__(self, path, names):
        with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
            cpus = int(file.read().strip().rpartition("-")[2]) + 1
        self.map = bpf.Map(path, 4, 8 * cpus)
        self.names = names

    def read(self):
        totals = {}
        for at, name in enumerate(self.names):
            values = self.map.lookup(struct.pack("=I", at))
            totals[name] = sum(struct.unpack(f"={len(values) // 8}Q", values))
        return Counter(totals)


# A message changes at most one of the other counters, by one.
BESIDE = {"CREATED", "MOVED", "DUPLICATES", "RING_DROPPED"}


class Fuzzer:
    def __init__(self, orders):
        self.seed = orders["seed"]
        self.ports = [model.Port(port) for port in orders["ports"]]
        self.name = orders["way"]
        self.way = WAYS[self.name](orders)
        self.bindings = Bindings(orders["bindings"])
        self.hints = Hints(orders["seenHints"], orders["hintKinds"])
        self.counters = Counters(orders["counters"], orders["counterNames"])
        self.seeds = mutate.built_by_scapy()
        self.fixed = {}
        self.failures = []
        self.seen = {"frames": 0, "refused": 0, "learned": 0, "inPages": 0}
        self.hinted = Counter()
        self.makers = Counter()
        self.learned_of = Counter()
        self.counted = Counter()

    def frames_of(self, kind, number, chance):
        if kind == "random":
            yield from mutate.Generator(chance, self.seeds, self.way.most).frames(BLOCK)
            return
        if kind not in self.fixed:
            self.fixed[kind] = list({"cut": mutate.cut, "flip": mutate.flipped}[kind](self.seeds))
        yield from self.fixed[kind][number * BLOCK : (number + 1) * BLOCK]

    def run(self, job):
        kind, number = job.rsplit(" ", 1)
        chance = random.Random(f"{self.seed} {self.name} {job}")
        before = self.counters.read()
        frames = learned = 0
        hinted = self.hinted.total()
        for at, (maker, frame) in enumerate(self.frames_of(kind, int(number), chance)):
            port = self.ports[0] if kind != "random" else chance.choice(self.ports)
            maker = maker.split()[0]
            self.makers[maker] += 1
            frames += 1
            try:
                if self.decideOwnerChecks(frame, port, kind, chance):
                    learned += 1
                    self.learned_of[maker] += 1
            except Refused:
                self.seen["refused"] += 1
                self.clear()
            except Disturbed as failure:
                self.fail(job, at, maker, port, frame, str(failure))
                self.clear()
            if len(self.failures) >= ENOUGH:
                break
        counted = self.counters.read() - before
        self.counted += counted
        messages = sum(n for name, n in counted.items() if name not in BESIDE)
        hinted = self.hinted.total() - hinted
        if not self.failures and (
            messages > frames or counted["SIGHTINGS"] != learned or counted["HINTS"] != hinted
        ):
            what = f"{frames} frames, {learned} learned from, {hinted} hints, counted as {counted}"
            self.fail(job, -1, kind, self.ports[0], b"", what)
        self.seen["frames"] += frames
        self.seen["learned"] += learned

    def clear(self):
        self.bindings.map.take()
        self.hints.map.take()

    def decideOwnerChecks(self, frame, port, kind, chance):
        """Sends one frame; True when it was to be accepted."""
        claim = model.decideOwnerChecks(frame, port)
        known = self.known(claim, port, kind, chance)
        accepted, wanted, hint = model.apply(known, claim, port)
        self.bindings.put(port.bridge, known)
        in_pages = self.way.send(frame, port, chance)
        self.seen["inPages"] += in_pages
        found = self.bindings.take(port.bridge)
        if found != wanted:
            raise Disturbed(f"the bindings are {shown(found)}, the model says {shown(wanted)}")
        left = self.hints.take(port.bridge)
        if left != hint:
            raise Disturbed(f"the hint is {left}, the model says {hint}")
        if hint is not None:
            self.hinted[hint.kind] += 1
        return accepted

    def known(self, claim, port, kind, chance):
        """The bindings before the frame: mostly none; otherwise its own address, bound to its sender or to another host."""
        if kind != "random" or chance.random() < 0.6:
            return {}
        vlan, ip, mac = claim[:3] if claim else (port.pvid, ip_address("192.168.1.10"), mutate.ANN)
        other = next(p.ifindex for p in self.ports if p.bridge == port.bridge and p is not port)
        owners = [(mac, port.ifindex), (mutate.BOB, port.ifindex), (mutate.ROUTER, port.ifindex), (mac, other)]
        mac, owner = chance.choice(owners)
        return {(vlan, ip): model.Bound(mac, owner, chance.random() < 0.5, False)}

    def fail(self, job, at, maker, port, frame, what):
        self.failures.append(
            {"job": job, "frame": at, "made": maker, "port": port.ifindex, "hex": frame.hex(), "what": what}
        )


def shown(bindings):
    return {" ".join(str(part) for part in key): tuple(bound) for key, bound in bindings.items()} or "none"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        orders = json.load(file)
    began = time.monotonic()
    fuzzer = Fuzzer(orders)
    for job in orders["jobs"]:
        fuzzer.run(job)
        if len(fuzzer.failures) >= ENOUGH:
            break
    print(
        json.dumps(
            {
                **fuzzer.seen,
                "seconds": time.monotonic() - began,
                "made": fuzzer.makers,
                "learnedOf": fuzzer.learned_of,
                "hinted": fuzzer.hinted,
                "counted": fuzzer.counted,
                "failures": fuzzer.failures,
            }
        )
    )


if __name__ == "__main__":
    main()
