// The frames of probes and announcements, decoded by scapy: an independent reader, which also recomputes the checksums.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { it } from 'node:test';
import type { IpAddress, Mac } from '../../../src/base/address.ts';
import { encodeNotice, encodeProbe, type Notice, type ProbeMessage } from '../../../src/datapath/frames.ts';

const ASK = {
  sourceMac: '02:00:00:00:00:01' as Mac,
  targetMac: '02:00:00:00:00:02' as Mac,
  tag: null,
};
const V4: ProbeMessage = { ...ASK, sourceIp: '10.0.0.1' as IpAddress, targetIp: '10.0.0.2' as IpAddress };
const V6: ProbeMessage = {
  ...ASK,
  sourceIp: '2001:db8::1' as IpAddress,
  targetIp: '2001:db8::2' as IpAddress,
};

/** One line of fields for each frame. Recomputed checksums must equal those in the frame. */
const SCRIPT = `
import sys
from scapy.all import Ether, Dot1Q, ARP, IPv6, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr
for line in sys.stdin:
    raw = bytes.fromhex(line.strip())
    e = Ether(raw)
    out = [e.src, e.dst]
    if Dot1Q in e: out.append('vlan %d' % e[Dot1Q].vlan)
    if ARP in e:
        a = e[ARP]; out += ['arp', str(a.op), a.hwsrc, a.psrc, a.hwdst, a.pdst]
    elif ICMPv6ND_NA in e:
        i, n = e[IPv6], e[ICMPv6ND_NA]
        out += ['na', i.src, i.dst, 'hlim %d' % i.hlim, n.tgt, e[ICMPv6NDOptDstLLAddr].lladdr]
        out.append('R%d S%d O%d' % (n.R, n.S, n.O))
        sum = n.cksum; del n.cksum
        out.append('checksum %s' % (ICMPv6ND_NA(bytes(i)[40:]).cksum == sum))
    else:
        i, n = e[IPv6], e[ICMPv6ND_NS]
        out += ['ns', i.src, i.dst, 'hlim %d' % i.hlim, n.tgt, e[ICMPv6NDOptSrcLLAddr].lladdr]
        sum = n.cksum; del n.cksum
        out.append('checksum %s' % (ICMPv6ND_NS(bytes(i)[40:]).cksum == sum))
    out.append('length %d' % len(raw))
    print(' '.join(out))
`;

function dissect(...frames: readonly Uint8Array[]): string[] {
  const input = frames.map((frame) => Buffer.from(frame).toString('hex')).join('\n');
  const { stdout, stderr, status } = spawnSync('/usr/bin/python3', ['-c', SCRIPT], {
    input,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout.trim().split('\n');
}

it('an ARP request and a Neighbor Solicitation are what scapy expects', () => {
  assert.deepEqual(
    dissect(
      ...[V4, { ...V4, sourceIp: null }, { ...V4, tag: 10 }, V6, { ...V6, tag: 4094 }].map(encodeProbe),
    ),
    [
      '02:00:00:00:00:01 02:00:00:00:00:02 arp 1 02:00:00:00:00:01 10.0.0.1 00:00:00:00:00:00 10.0.0.2 length 60',
      '02:00:00:00:00:01 02:00:00:00:00:02 arp 1 02:00:00:00:00:01 0.0.0.0 00:00:00:00:00:00 10.0.0.2 length 60',
      '02:00:00:00:00:01 02:00:00:00:00:02 vlan 10 arp 1 02:00:00:00:00:01 10.0.0.1 00:00:00:00:00:00 10.0.0.2 length 60',
      '02:00:00:00:00:01 02:00:00:00:00:02 ns 2001:db8::1 ff02::1:ff00:2 hlim 255 2001:db8::2 02:00:00:00:00:01 checksum True length 86',
      '02:00:00:00:00:01 02:00:00:00:00:02 vlan 4094 ns 2001:db8::1 ff02::1:ff00:2 hlim 255 2001:db8::2 02:00:00:00:00:01 checksum True length 90',
    ],
  );
});

it('a solicitation without a source is never built: it would be Duplicate Address Detection', () => {
  assert.throws(() => encodeProbe({ ...V6, sourceIp: null }), RangeError);
});

it('announcements are a gratuitous ARP and an unsolicited Neighbor Advertisement, from the announced MAC to all hosts', () => {
  const mac = '02:00:00:00:00:0b' as Mac;
  const v4: Notice = { ip: '10.0.0.2' as IpAddress, mac, router: false, tag: null };
  const v6: Notice = { ...v4, ip: '2001:db8::2' as IpAddress };
  assert.deepEqual(
    dissect(...[v4, { ...v4, tag: 10 }, v6, { ...v6, router: true, tag: 10 }].map(encodeNotice)),
    [
      '02:00:00:00:00:0b ff:ff:ff:ff:ff:ff arp 1 02:00:00:00:00:0b 10.0.0.2 00:00:00:00:00:00 10.0.0.2 length 60',
      '02:00:00:00:00:0b ff:ff:ff:ff:ff:ff vlan 10 arp 1 02:00:00:00:00:0b 10.0.0.2 00:00:00:00:00:00 10.0.0.2 length 60',
      '02:00:00:00:00:0b 33:33:00:00:00:01 na 2001:db8::2 ff02::1 hlim 255 2001:db8::2 02:00:00:00:00:0b R0 S0 O1 checksum True length 86',
      '02:00:00:00:00:0b 33:33:00:00:00:01 vlan 10 na 2001:db8::2 ff02::1 hlim 255 2001:db8::2 02:00:00:00:00:0b R1 S0 O1 checksum True length 90',
    ],
  );
});
