// Which messages the program accepts, and the counter for each message that it rejects: a real kernel, frames by
// scapy.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Scope } from '../lib/scope.ts';
import { buildFrames, COUNTERS, Datapath, type FrameSpec, LEARN, type Policy } from './datapath.ts';
import { ANN, arp, BOB, filler, na, ns, slla, tlla } from './messages.ts';

interface Valid {
  readonly frame: FrameSpec;
  readonly policy?: Policy;
  readonly family?: number;
  readonly ip: readonly number[];
  readonly vlan?: number;
  readonly flags?: number;
}

const V4 = [192, 168, 1, 10, ...new Array<number>(12).fill(0)];
const V6 = { family: 10, ip: [0x20, 1, 0x0d, 0xb8, ...new Array<number>(11).fill(0), 0x10] };

const valid: Readonly<Record<string, Valid>> = {
  'an ARP request': { frame: arp(), ip: V4 },
  'an ARP reply': { frame: arp({ ether: { dst: BOB }, arp: { op: 2, hwdst: BOB } }), ip: V4 },
  'a gratuitous ARP request': { frame: arp({ arp: { pdst: '192.168.1.10' } }), ip: V4 },
  'a gratuitous ARP reply': { frame: arp({ arp: { op: 2, pdst: '192.168.1.10', hwdst: ANN } }), ip: V4 },
  'an ARP request padded to the shortest Ethernet frame': { frame: arp({ length: 60 }), ip: V4 },
  'an ARP request in a jumbo frame': { frame: arp({ length: 3000 }), ip: V4 },
  'an untagged frame on a port with a PVID': { frame: arp(), policy: { pvid: 10 }, ip: V4, vlan: 10 },
  'a tag inside the frame': { frame: arp({ tags: [['Dot1Q', { vlan: 20 }]] }), ip: V4, vlan: 20 },
  'a tag with priority and DEI set': {
    frame: arp({ tags: [['Dot1Q', { vlan: 4094, prio: 7, id: 1 }]] }),
    ip: V4,
    vlan: 4094,
  },
  'a priority tag, as untagged': {
    frame: arp({ tags: [['Dot1Q', { vlan: 0, prio: 5 }]] }),
    policy: { pvid: 10 },
    ip: V4,
    vlan: 10,
  },
  'a tag of a VLAN that the port is in': {
    frame: arp({ tags: [['Dot1Q', { vlan: 20, prio: 7 }]] }),
    policy: { pvid: 10, vlans: [10, 20] },
    ip: V4,
    vlan: 20,
  },
  'an untagged frame on a port that is in its PVID': {
    frame: arp(),
    policy: { pvid: 10, vlans: [10, 20] },
    ip: V4,
    vlan: 10,
  },
  'a priority tag on a port that is in its PVID': {
    frame: na({ tags: [['Dot1Q', { vlan: 0, prio: 5 }]] }),
    policy: { pvid: 4094, vlans: [4094] },
    ...V6,
    vlan: 4094,
  },
  'an unsolicited NA': { frame: na(), ...V6 },
  'an NA in a tag inside the frame': { frame: na({ tags: [['Dot1Q', { vlan: 20 }]] }), ...V6, vlan: 20 },
  'a solicited NA to one host': { frame: na({ nd: { S: 1 }, ipv6: { dst: '2001:db8::1' } }), ...V6 },
  'an NA of a router': { frame: na({ nd: { R: 1 } }), ...V6, flags: 1 },
  'an NA with other options around the address': {
    frame: na({ options: [filler(2), tlla(ANN), filler(1)] }),
    ...V6,
  },
  'an NA with eight options': {
    frame: na({ options: [...new Array(7).fill(filler(1)), tlla(ANN)] }),
    ...V6,
  },
  'an NA as long as the smallest IPv6 MTU': {
    frame: na({ options: [tlla(ANN), filler(100), filler(51)] }),
    ...V6,
  },
  'an NA in a padded frame': { frame: na({ length: 200 }), ...V6 },
  'an NS with its source address': { frame: ns(), ...V6 },
  'a link-local IPv4 address where allowed': {
    frame: arp({ ip: '169.254.3.4' }),
    policy: { linkLocal: true },
    ip: [169, 254, 3, 4, ...new Array<number>(12).fill(0)],
  },
  'a link-local IPv6 address where allowed': {
    frame: na({ ip: 'fe80::10' }),
    policy: { linkLocal: true },
    family: 10,
    ip: [0xfe, 0x80, ...new Array<number>(13).fill(0), 0x10],
  },
};

const only = (kind: string): Policy => ({ learn: LEARN.get(kind) ?? 0 });
const but = (kind: string): Policy => ({ learn: 15 & ~(LEARN.get(kind) ?? 0) });
const q = (vlan: number) => ['Dot1Q', { vlan }] as const;
const ad = (vlan: number) => ['Dot1AD', { vlan }] as const;
const fragment = ['IPv6ExtHdrFragment', { offset: 0, m: 0, id: 7 }] as const;
const hopByHop = ['IPv6ExtHdrHopByHop', {}] as const;

/** No rejection is recorded: no host has such an address, or the address cannot be read or trusted. */
const NOT_NOTED: readonly (string | null)[] = [null, 'IP', 'ARP_HEADER', 'FRAGMENT'];

/**
 * Frames that must not be learned from: the counter, or null where the program does not count the frame, and the
 * frame.
 */
const invalid: Readonly<Record<string, readonly [string | null, FrameSpec, Policy?]>> = {
  'an ARP request where only replies are learned': ['IGNORED', arp(), only('ARP_REPLY')],
  'an ARP reply where only requests are learned': ['IGNORED', arp({ arp: { op: 2 } }), only('ARP_REQUEST')],
  'an NA where it is not learned': ['IGNORED', na(), but('NA')],
  'an NS where neither it nor NAs are learned': ['IGNORED', ns(), only('ARP_REQUEST')],

  'two tags': ['VLAN', arp({ tags: [q(10), q(20)] })],
  'two tags before an NA': ['VLAN', na({ tags: [q(10), q(20)] })],
  'a priority tag before a tag': ['VLAN', arp({ tags: [q(0), q(20)] })],
  'an 802.1ad tag': ['VLAN', arp({ tags: [ad(10)] })],
  'an 802.1ad tag before an 802.1Q tag': ['VLAN', na({ tags: [ad(10), q(20)] })],
  'a tag of a VLAN that the port is not in': ['VLAN', arp({ tags: [q(20)] }), { pvid: 10, vlans: [10] }],
  'an NA in a VLAN that the port is not in': ['VLAN', na({ tags: [q(20)] }), { pvid: 10, vlans: [10] }],
  'an NS in a VLAN that the port is not in': ['VLAN', ns({ tags: [q(20)] }), { pvid: 10, vlans: [10] }],
  'a tag on a port that is in no VLAN': ['VLAN', arp({ tags: [q(1)] }), { vlans: [] }],
  'a tag of VLAN 4095': ['VLAN', arp({ tags: [q(4095)] }), { pvid: 10, vlans: [10] }],
  'an untagged frame on a VLAN-aware port without a PVID': ['VLAN', arp(), { vlans: [10] }],
  'an untagged NA on a VLAN-aware port without a PVID': ['VLAN', na(), { vlans: [0, 10] }],
  'a priority tag on a VLAN-aware port without a PVID': ['VLAN', arp({ tags: [q(0)] }), { vlans: [10] }],
  'an untagged frame on a port that is not in its PVID': ['VLAN', arp(), { pvid: 10, vlans: [20] }],
  'a second tag of a VLAN that the port is in': ['VLAN', arp({ tags: [q(10), q(20)] }), { vlans: [10, 20] }],
  'a malformed message of another VLAN, under one counter': [
    'VLAN',
    arp({ tags: [q(20)], ether: { src: BOB } }),
    { vlans: [10] },
  ],
  'three tags': [null, arp({ tags: [q(1), q(2), q(3)] })],
  'two tags before data': [
    null,
    { layers: [['Ether', { src: ANN, dst: BOB }], q(1), q(2), ['IP', {}], ['UDP', {}]] },
  ],

  'ARP for other hardware': ['ARP_HEADER', arp({ arp: { hwtype: 6 } })],
  'ARP for another protocol': ['ARP_HEADER', arp({ set: { 16: '86dd' } })],
  'ARP with longer hardware addresses': ['ARP_HEADER', arp({ set: { 18: '08' } })],
  'ARP with longer protocol addresses': ['ARP_HEADER', arp({ set: { 19: '10' } })],
  'ARP operation 0': ['ARP_HEADER', arp({ arp: { op: 0 } })],
  'a RARP request': ['ARP_HEADER', arp({ arp: { op: 3 } })],
  'ARP operation 256 (bytes swapped)': ['ARP_HEADER', arp({ arp: { op: 256 } })],

  'ARP with the MAC of another sender': ['SPOOFED', arp({ ether: { src: BOB } })],
  'ARP whose sender differs in the last bit': ['SPOOFED', arp({ arp: { hwsrc: '02:00:00:00:01:11' } })],
  'an NA with the MAC of another sender': ['SPOOFED', na({ ether: { src: BOB } })],
  'an NS with the MAC of another sender': ['SPOOFED', ns({ ether: { src: BOB } })],

  'ARP with a zero MAC': ['MAC', arp({ mac: '00:00:00:00:00:00' })],
  'ARP with a multicast MAC': ['MAC', arp({ mac: '01:00:5e:00:00:01' })],
  'ARP with the broadcast MAC': ['MAC', arp({ mac: 'ff:ff:ff:ff:ff:ff' })],
  'an NA with a multicast MAC': ['MAC', na({ mac: '33:33:00:00:00:01' })],
  'an NA with a zero MAC': ['MAC', na({ mac: '00:00:00:00:00:00' })],

  'ARP for "this network"': ['IP', arp({ ip: '0.1.2.3' })],
  'ARP for a loopback address': ['IP', arp({ ip: '127.0.0.1' })],
  'ARP for a multicast address': ['IP', arp({ ip: '224.0.0.1' })],
  'ARP for a reserved address': ['IP', arp({ ip: '240.0.0.1' })],
  'ARP for the broadcast address': ['IP', arp({ ip: '255.255.255.255' })],
  'an NA for a multicast target': ['IP', na({ nd: { tgt: 'ff02::5' } })],
  'an NA for ::': ['IP', na({ nd: { tgt: '::' } })],
  'an NA for ::1': ['IP', na({ nd: { tgt: '::1' } })],
  'an NA for an IPv4-mapped target': ['IP', na({ nd: { tgt: '::ffff:192.168.1.1' } })],
  'an NA for an IPv4-compatible target': ['IP', na({ nd: { tgt: '::192.168.1.1' } })],
  'an NS for a multicast target': ['IP', ns({ nd: { tgt: 'ff02::5' } })],

  'link-local IPv4': ['LINK_LOCAL', arp({ ip: '169.254.1.1' })],
  'link-local IPv6': ['LINK_LOCAL', na({ ip: 'fe80::1' })],
  'the last address of fe80::/10': ['LINK_LOCAL', na({ ip: 'febf:ffff::1' })],

  'the first fragment of an NA': ['FRAGMENT', na({ extensions: [['IPv6ExtHdrFragment', { m: 1, id: 7 }]] })],
  'an NA in one fragment': ['FRAGMENT', na({ extensions: [fragment] })],
  'an NS in one fragment': ['FRAGMENT', ns({ extensions: [fragment] })],
  'a later fragment': [null, na({ extensions: [['IPv6ExtHdrFragment', { offset: 2, id: 7 }]] })],
  'an NA behind another extension header': [null, na({ extensions: [hopByHop] })],
  'a fragmented NA behind another extension header': [null, na({ extensions: [hopByHop, fragment] })],

  'an NA with a hop limit below 255': ['HOP_LIMIT', na({ ipv6: { hlim: 254 } })],
  'an NS with a hop limit below 255': ['HOP_LIMIT', ns({ ipv6: { hlim: 64 } })],
  'an NA with a wrong checksum': ['CHECKSUM', na({ nd: { cksum: 0x1234 } })],
  'an NA altered in its target': ['CHECKSUM', na({ set: { 77: '11' } })],
  'an NA altered in its last octet': ['CHECKSUM', na({ set: { 85: '11' } })],
  'a long NA altered in its last octet': [
    'CHECKSUM',
    na({ options: [tlla(ANN), filler(150)], set: { 1285: '11' } }),
  ],
  'an NA with a source other than its checksum covers': ['CHECKSUM', na({ set: { 37: '11' } })],

  'an NA with a code': ['ND_HEADER', na({ nd: { code: 1 } })],
  'an NA from ::': ['ND_HEADER', na({ ipv6: { src: '::' } })],
  'an NA from a multicast address': ['ND_HEADER', na({ ipv6: { src: 'ff02::1' } })],
  'a solicited NA to all nodes': ['ND_HEADER', na({ nd: { S: 1 } })],
  'an NA shorter than its header': ['ND_HEADER', na({ ipv6: { plen: 20 } })],
  'an NA without a payload': ['ND_HEADER', na({ ipv6: { plen: 0 } })],
  'an NA longer than the smallest IPv6 MTU': ['ND_HEADER', na({ options: [tlla(ANN), filler(152)] })],

  'an option of length 0': [
    'ND_OPTION',
    na({ options: [['ICMPv6NDOptUnknown', { len: 0, data: { hex: '00'.repeat(6) } }]] }),
  ],
  'an option of length 0 behind the address': [
    'ND_OPTION',
    na({ options: [tlla(ANN), ['ICMPv6NDOptUnknown', { len: 0, data: { hex: '00'.repeat(6) } }]] }),
  ],
  'an option past the end': [
    'ND_OPTION',
    na({ options: [['ICMPv6NDOptDstLLAddr', { lladdr: ANN, len: 2 }]] }),
  ],
  'an address of another length': [
    'ND_OPTION',
    na({ options: [['ICMPv6NDOptUnknown', { type: 2, len: 2, data: { hex: '02'.repeat(14) } }]] }),
  ],
  'a repeated address option': ['ND_OPTION', na({ options: [tlla(ANN), tlla(ANN)] })],
  'nine options': ['ND_OPTION', na({ options: [tlla(ANN), ...new Array(8).fill(filler(1))] })],
  'half an option': ['ND_OPTION', na({ options: [tlla(ANN), ['Raw', { load: { hex: 'c8010000' } }]] })],
  'an NA without the address, and no binding to refresh': ['ND_OPTION', na({ options: [] })],
  'an NA with the source option instead': ['ND_OPTION', na({ options: [slla(ANN)] })],
  'an NS without the address, and no binding to refresh': ['ND_OPTION', ns({ options: [] })],
  'an NS with the target option instead': ['ND_OPTION', ns({ options: [tlla(ANN)] })],
  'an option behind the IPv6 payload': [
    'ND_OPTION',
    na({ options: [], length: 86, set: { 78: '0201020000000110' } }),
  ],

  'an IPv4 packet': [
    null,
    {
      layers: [
        ['Ether', { src: ANN, dst: BOB }],
        ['IP', {}],
        ['UDP', {}],
      ],
    },
  ],
  'an IPv6 packet': [
    null,
    {
      layers: [
        ['Ether', { src: ANN, dst: BOB }],
        ['IPv6', {}],
        ['UDP', {}],
      ],
    },
  ],
  'an echo request': [
    null,
    {
      layers: [
        ['Ether', { src: ANN, dst: BOB }],
        ['IPv6', {}],
        ['ICMPv6EchoRequest', {}],
      ],
    },
  ],
  'a router solicitation': [
    null,
    {
      layers: [
        ['Ether', { src: ANN, dst: BOB }],
        ['IPv6', { hlim: 255 }],
        ['ICMPv6ND_RS', {}],
      ],
    },
  ],
  'a router advertisement': [
    null,
    {
      layers: [
        ['Ether', { src: ANN, dst: BOB }],
        ['IPv6', { hlim: 255 }],
        ['ICMPv6ND_RA', {}],
      ],
    },
  ],
  'IPv6 with another version number': [null, na({ set: { 14: '40' } })],
  'a frame without a payload': [null, { layers: [['Ether', { src: ANN, dst: BOB, type: 0x8100 }]] }],
};

const scope = new Scope();
let datapath: Datapath;
let validFrames: Record<string, string>;
let invalidFrames: Record<string, string>;

before(() => {
  validFrames = buildFrames(
    Object.fromEntries(Object.entries(valid).map(([name, { frame }]) => [name, frame])),
  );
  invalidFrames = buildFrames(
    Object.fromEntries(Object.entries(invalid).map(([name, [, frame]]) => [name, frame])),
  );
  datapath = new Datapath(scope);
});
after(() => scope.close());

for (const [name, { policy, family = 2, ip, vlan = 0, flags = 0 }] of Object.entries(valid)) {
  test(`learns from ${name}`, () => {
    const bridge = datapath.domain(policy);
    const { counted, disturbed } = datapath.run([validFrames[name] ?? '']);
    assert.deepEqual(counted, { SIGHTINGS: 1, CREATED: 1 });
    assert.deepEqual(disturbed, []);
    const [binding, ...more] = datapath.bindings();
    assert.deepEqual(more, []);
    assert.deepEqual(binding?.key, {
      bridge,
      vlan,
      family,
      ip,
    });
    const { first_seen_ns, last_seen_ns, ...rest } = binding.value;
    assert.equal(first_seen_ns, last_seen_ns);
    assert.ok(first_seen_ns > 0);
    assert.deepEqual(rest, {
      mac: [2, 0, 0, 0, 1, 0x10],
      flags,
      moves: 0,
      port: datapath.ports[0],
      flags_changed: 0,
      window_ns: 0,
      frozen_until_ns: 0,
      owner_mac: [0, 0, 0, 0, 0, 0],
      pad: [0, 0],
      owner_port: 0,
      pad2: 0,
    });
  });
}

for (const [name, [counter, , policy]] of Object.entries(invalid)) {
  test(`does not learn from ${name}: ${counter ?? 'not counted'}`, () => {
    datapath.domain(policy);
    const { counted, disturbed } = datapath.run([invalidFrames[name] ?? '']);
    assert.deepEqual(counted, counter === null ? {} : { [counter]: 1 });
    assert.deepEqual(disturbed, []);
    assert.deepEqual(datapath.bindings(), []);
    assert.deepEqual(
      datapath.rejections().map(({ value }) => [COUNTERS[value.reason], value.port, value.count]),
      NOT_NOTED.includes(counter) ? [] : [[counter, datapath.ports[0], 1]],
    );
  });
}

test('learns in exactly the VLANs of the port, in every word of their bitmap', () => {
  const edges = Array.from({ length: 64 }, (_, word) => [word * 64, word * 64 + 63]).flat();
  const tagged = validFrames['a tag inside the frame'] ?? '';
  const withVid = (vid: number): string =>
    `${tagged.slice(0, 28)}${vid.toString(16).padStart(4, '0')}${tagged.slice(32)}`;
  const vids = edges.filter((vid) => vid > 0 && vid < 4095);
  for (const vlans of [vids.filter((_, at) => at % 2 === 0), vids.filter((_, at) => at % 2 === 1)]) {
    datapath.domain({ vlans });
    const { counted, disturbed } = datapath.run(vids.map(withVid));
    assert.deepEqual(counted, { SIGHTINGS: 63, CREATED: 63, VLAN: 63 });
    assert.deepEqual(disturbed, []);
    const learned = datapath.bindings().map(({ key }) => key.vlan);
    assert.deepEqual(
      learned.sort((a, b) => a - b),
      vlans,
    );
  }
});

test('a frame on a port without a policy is not counted', () => {
  datapath.domain();
  datapath.batch(
    datapath.ports.map((port) => {
      const key = `${port & 255} ${port >> 8} 0 0`;
      return `map delete pinned ${datapath.map('ports')} key ${key}`;
    }),
  );
  const { counted, disturbed } = datapath.run(Object.values(validFrames));
  assert.deepEqual(counted, {});
  assert.deepEqual(disturbed, []);
});

test('a message cut at any length is never learned from and never altered', () => {
  const whole = [
    'an ARP request',
    'a tag inside the frame',
    'an unsolicited NA',
    'an NA in a tag inside the frame',
    'an NS with its source address',
  ];
  const cut = whole.flatMap((name) => {
    const hex = validFrames[name] ?? '';
    // BPF_PROG_TEST_RUN rejects shorter frames; wire.test.ts has them.
    const least = hex.slice(24, 28) === '86dd' ? 54 : 14;
    return Array.from({ length: hex.length / 2 - least }, (_, at) => hex.slice(0, (least + at) * 2));
  });
  datapath.domain();
  const { counted, disturbed } = datapath.run(cut);
  assert.deepEqual(Object.keys(counted), ['TRUNCATED']);
  assert.deepEqual(disturbed, []);
  assert.deepEqual(datapath.bindings(), []);
});

test('the tables provoke every counter that one message can provoke', () => {
  const named = new Set(Object.values(invalid).map(([counter]) => counter));
  // The others need more than one message, or are hints: bindings.test.ts, hints.test.ts.
  const elsewhere = ['SIGHTINGS', 'CREATED', 'TRUNCATED', 'RING_DROPPED', 'MOVED', 'DUPLICATES'].concat([
    'HINTS',
    'OVERRIDE',
    'SUBNET',
    'STATIC',
    'FROZEN',
    'PORT_LIMIT',
    'RATE_LIMIT',
    'TABLE_FULL',
  ]);
  assert.deepEqual(
    COUNTERS.filter((counter) => !named.has(counter) && !elsewhere.includes(counter)),
    [],
  );
});
