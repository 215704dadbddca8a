// Messages that are not learned from but show that a host is here: what they leave for user space, and what they
// refresh.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Scope } from '../lib/scope.ts';
import { sleepSync } from '../lib/wait.ts';
import {
  type Arrival,
  buildFrames,
  CHANGE,
  Datapath,
  type FrameSpec,
  HINT,
  LEARN,
  type Policy,
} from './datapath.ts';
import { ANN, arp, BOB, IP4, IP6, na, ns, slla, tlla } from './messages.ts';

const bits = (...kinds: readonly string[]): number =>
  kinds.reduce((all, kind) => all | (LEARN.get(kind) ?? 0), 0);
const ARP = bits('ARP_REQUEST', 'ARP_REPLY');
const WITHOUT_NS = ARP | bits('NA');

/** The default: `learn: [arp, na]`. */
const DEFAULT: Policy = { learn: WITHOUT_NS };

const V4 = [192, 168, 1, 10, ...new Array<number>(12).fill(0)];
const V6 = [0x20, 1, 0x0d, 0xb8, ...new Array<number>(11).fill(0), 0x10];
const LINK_LOCAL = [0xfe, 0x80, ...new Array<number>(13).fill(0), 0x10];
const ANN_BYTES = [2, 0, 0, 0, 1, 0x10];
const ZERO_MAC = '00:00:00:00:00:00';

const arpProbe = (mac = ANN, ip = IP4): FrameSpec =>
  arp({ mac, arp: { psrc: '0.0.0.0', pdst: ip, hwdst: ZERO_MAC } });
/** Duplicate Address Detection. */
const dad = (changes: Parameters<typeof ns>[0] = {}): FrameSpec =>
  ns({ ip: '::', options: [], ...changes, nd: { tgt: IP6, ...changes.nd } });
/** The answer to a unicast solicitation, as Linux sends it. */
const answer = (changes: Parameters<typeof na>[0] = {}): FrameSpec =>
  na({
    options: [],
    ...changes,
    ipv6: { dst: '2001:db8::1', ...changes.ipv6 },
    nd: { O: 0, S: 1, ...changes.nd },
  });
const anycast = (changes: Parameters<typeof na>[0] = {}): FrameSpec =>
  na({ ...changes, nd: { O: 0, ...changes.nd } });

interface Hinting {
  readonly frame: FrameSpec;
  readonly kind: string;
  readonly policy?: Policy;
  readonly ip: readonly number[];
  readonly vlan?: number;
}

const hinting: Readonly<Record<string, Hinting>> = {
  'an NS with its source address, where it is not learned': { frame: ns(), kind: 'SOLICITATION', ip: V6 },
  'a unicast NS with its source address': {
    frame: ns({ ether: { dst: BOB }, ipv6: { dst: '2001:db8::1' } }),
    kind: 'SOLICITATION',
    ip: V6,
  },
  'an NS in a VLAN': {
    frame: ns({ tags: [['Dot1Q', { vlan: 20 }]] }),
    kind: 'SOLICITATION',
    policy: { ...DEFAULT, pvid: 10, vlans: [10, 20] },
    ip: V6,
    vlan: 20,
  },
  'a solicited NA without the address, from its target': { frame: answer(), kind: 'UNNAMED', ip: V6 },
  'the same with O = 1': { frame: answer({ nd: { O: 1 } }), kind: 'UNNAMED', ip: V6 },
  'a solicited NA with O = 0': {
    frame: anycast({ nd: { S: 1 }, ipv6: { dst: '2001:db8::1' } }),
    kind: 'ANYCAST',
    ip: V6,
  },
  'an unsolicited NA with O = 0': { frame: anycast(), kind: 'ANYCAST', ip: V6 },
  'an NA with O = 0 from another address': {
    frame: anycast({ ipv6: { src: '2001:db8::99' } }),
    kind: 'ANYCAST',
    ip: V6,
  },
  'Duplicate Address Detection': { frame: dad(), kind: 'TENTATIVE', ip: V6 },
  'Duplicate Address Detection, where NSs are learned': {
    frame: dad(),
    kind: 'TENTATIVE',
    policy: { learn: WITHOUT_NS | bits('NS') },
    ip: V6,
  },
  'Duplicate Address Detection for a link-local address, where that is learned': {
    frame: dad({ nd: { tgt: 'fe80::10' } }),
    kind: 'TENTATIVE',
    policy: { ...DEFAULT, linkLocal: true },
    ip: LINK_LOCAL,
  },
  'an ARP Probe': { frame: arpProbe(), kind: 'TENTATIVE', ip: V4 },
  'an ARP Probe where ARP requests are not learned': {
    frame: arpProbe(),
    kind: 'TENTATIVE',
    policy: { learn: bits('ARP_REPLY') },
    ip: V4,
  },
};

const OUTSIDE = '2001:db8:0:1::10';

/** Messages that hint at nothing: the counter, the frame, and the policy if it is not the default. */
const rejected: Readonly<Record<string, readonly [string, FrameSpec, Policy?]>> = {
  'an NS where NAs are not learned': ['IGNORED', ns(), { learn: ARP }],
  'an NS without its source address': ['IGNORED', ns({ options: [] })],
  'an NS with the MAC of another sender': ['IGNORED', ns({ options: [slla(BOB)] })],
  'an NS from a multicast MAC': ['IGNORED', ns({ mac: '33:33:00:00:00:01' })],
  'an NS with two source addresses': ['IGNORED', ns({ options: [slla(ANN), slla(ANN)] })],
  'an NS with a hop limit below 255': ['IGNORED', ns({ ipv6: { hlim: 64 } })],
  'an NS with a wrong checksum': ['IGNORED', ns({ nd: { cksum: 0x1234 } })],
  'an NS with a code': ['IGNORED', ns({ nd: { code: 1 } })],
  'an NS in one fragment': [
    'IGNORED',
    ns({ extensions: [['IPv6ExtHdrFragment', { offset: 0, m: 0, id: 7 }]] }),
  ],
  'an NS for a multicast target': ['IGNORED', ns({ nd: { tgt: 'ff02::5' } })],
  'an NS from a link-local address': ['IGNORED', ns({ ip: 'fe80::10' })],
  'an NS from an address of no host': ['IGNORED', ns({ ip: '::1' })],
  'an NS from a multicast address': ['IGNORED', ns({ ip: 'ff02::1' })],
  'an NS in a VLAN that the port is not in': [
    'VLAN',
    ns({ tags: [['Dot1Q', { vlan: 20 }]] }),
    { ...DEFAULT, pvid: 10, vlans: [10] },
  ],

  'an unsolicited NA without the address': ['ND_OPTION', answer({ nd: { S: 0 } })],
  'an NA without the address, from another address than its target': [
    'ND_OPTION',
    answer({ ipv6: { src: '2001:db8::99' } }),
  ],
  'an NA without the address, for a link-local target': ['LINK_LOCAL', answer({ ip: 'fe80::10' })],
  'an NA with O = 0 with the MAC of another sender': ['SPOOFED', anycast({ options: [tlla(BOB)] })],
  'an NA with O = 0 where it is not learned': ['IGNORED', anycast(), { learn: ARP | bits('NS') }],

  'Duplicate Address Detection with a source address': ['IGNORED', dad({ options: [slla(ANN)] })],
  'the same where NSs are learned': ['ND_OPTION', dad({ options: [slla(ANN)] }), {}],
  'Duplicate Address Detection to all nodes': ['IGNORED', dad({ ipv6: { dst: 'ff02::1' } })],
  'the same where NSs are learned, to all nodes': ['ND_HEADER', dad({ ipv6: { dst: 'ff02::1' } }), {}],
  'Duplicate Address Detection to one host': ['IGNORED', dad({ ipv6: { dst: '2001:db8::1' } })],
  'Duplicate Address Detection for a multicast target': ['IGNORED', dad({ nd: { tgt: 'ff02::5' } })],
  'Duplicate Address Detection for a link-local address': ['IGNORED', dad({ nd: { tgt: 'fe80::10' } })],
  'Duplicate Address Detection where NSs are learned and NAs are not': ['IP', dad(), { learn: bits('NS') }],

  'an ARP Probe where replies are not learned': ['IP', arpProbe(), { learn: bits('ARP_REQUEST') }],
  'an ARP Probe where ARP is not learned': ['IGNORED', arpProbe(), { learn: bits('NA', 'NS') }],
  'an ARP Probe with the MAC of another sender': ['SPOOFED', arp({ ether: { src: BOB }, ip: '0.0.0.0' })],
  'an ARP Probe with a multicast MAC': ['MAC', arpProbe('01:00:5e:00:00:01')],
  'an ARP Probe for the broadcast address': ['IP', arpProbe(ANN, '255.255.255.255')],
  'an ARP Probe for 0.0.0.0': ['IP', arpProbe(ANN, '0.0.0.0')],
  'an ARP Probe for a link-local address': ['LINK_LOCAL', arpProbe(ANN, '169.254.3.4')],
  'an ARP reply from 0.0.0.0': ['IP', arp({ ip: '0.0.0.0', arp: { op: 2 } })],
};

const HOSTS = 40;
const specs = {
  ann: arp(),
  other: arp({ ip: '192.168.1.99' }),
  bob: arp({ mac: BOB }),
  ann6: na(),
  ann6Router: na({ nd: { R: 1 } }),
  bob6: na({ mac: BOB }),
  asks: ns(),
  bobAsks: ns({ mac: BOB }),
  asksUnnamed: ns({ options: [] }),
  answers: answer(),
  bobAnswers: answer({ mac: BOB }),
  anycast: anycast(),
  anycastRouter: anycast({ nd: { R: 1 } }),
  bobAnycast: anycast({ mac: BOB }),
  dad: dad(),
  bobDad: dad({ mac: BOB }),
  probe: arpProbe(),
  bobProbe: arpProbe(BOB),
  outsideAsks: ns({ ip: OUTSIDE }),
  outsideAnswers: answer({ ip: OUTSIDE }),
  outsideAnycast: anycast({ ip: OUTSIDE }),
  outsideDad: dad({ nd: { tgt: OUTSIDE } }),
  outsideProbe: arpProbe(ANN, '10.1.2.3'),
};
const hostSpecs = Object.fromEntries(
  Array.from({ length: HOSTS }, (_, n) => [`host${n}`, arpProbe(ANN, `192.168.2.${n + 1}`)]),
);

const scope = new Scope();
let frames: Record<keyof typeof specs, string>;
let hosts: string[];
let built: Record<string, string>;
let datapath: Datapath;

before(() => {
  built = buildFrames({
    ...specs,
    ...hostSpecs,
    ...Object.fromEntries(Object.entries(hinting).map(([name, { frame }]) => [`hint ${name}`, frame])),
    ...Object.fromEntries(Object.entries(rejected).map(([name, [, frame]]) => [`none ${name}`, frame])),
  });
  frames = built as typeof frames;
  hosts = Object.keys(hostSpecs).map((name) => built[name] ?? '');
  datapath = new Datapath(scope);
});
after(() => scope.close());

const on = (port: number, hex: string): Arrival => ({ port, hex });

/** Sends frames that must pass unaltered, and returns the counters that changed. */
function count(...arrivals: readonly Arrival[]): Readonly<Record<string, number>> {
  const { counted, disturbed } = datapath.run(arrivals);
  assert.deepEqual(disturbed, []);
  return counted;
}

/** The hints of the newest domain: port, kind, the last byte of the MAC. */
function hints(): (readonly [port: number, kind: number | undefined, mac: number | undefined])[] {
  return datapath
    .seenHints()
    .map(({ key, value }) => [datapath.ports.indexOf(key.port), value.kind, value.mac.at(-1)] as const)
    .sort();
}

const kindOf = (name: string): number => HINT.get(name) ?? 0;

for (const [name, { frame: _, kind, policy = DEFAULT, ip, vlan = 0 }] of Object.entries(hinting)) {
  test(`takes for a hint ${name}: ${kind}`, () => {
    const bridge = datapath.domain(policy);
    datapath.ring('consume');
    assert.deepEqual(count(built[`hint ${name}`] ?? ''), { HINTS: 1 });
    assert.deepEqual(datapath.bindings(), []);
    assert.deepEqual(datapath.rejections(), []);
    const [hint, ...more] = datapath.seenHints();
    assert.deepEqual(more, []);
    assert.ok(hint);
    const { time_ns, ...value } = hint.value;
    const family = ip.slice(4).some((byte) => byte !== 0) ? 10 : 2;
    assert.deepEqual(value, {
      key: { bridge, vlan, family, ip },
      mac: ANN_BYTES,
      kind: kindOf(kind),
      probes: 0,
      probed_ns: 0,
    });
    assert.equal(hint.key.port, datapath.ports[0]);
    assert.ok(hint.key.slot < 128);
    const { records } = datapath.ring('consume');
    const { timeNs, ...record } = { timeNs: '', ...records[0] };
    assert.equal(records.length, 1);
    assert.ok(Math.abs(Number(timeNs) - time_ns) < 1000);
    assert.deepEqual(record, {
      kind: CHANGE.get('HINT'),
      port: datapath.ports[0],
      oldPort: 0,
      mac: ANN,
      oldMac: ZERO_MAC,
      bridge,
      vlan,
      family,
      ip: Buffer.from(ip).toString('hex'),
    });
  });
}

for (const [name, [counter, , policy = DEFAULT]] of Object.entries(rejected)) {
  test(`takes for no hint ${name}: ${counter}`, () => {
    datapath.domain(policy);
    assert.deepEqual(count(built[`none ${name}`] ?? ''), { [counter]: 1 });
    assert.deepEqual(datapath.seenHints(), []);
    assert.deepEqual(datapath.bindings(), []);
  });
}

/** One message of each kind by the same host for the same two addresses, and the counter of each where it is no hint. */
const OTHERWISE = [
  ['asks', 'IGNORED'],
  ['answers', 'ND_OPTION'],
  ['anycast', 'OVERRIDE'],
  ['dad', 'IGNORED'],
  ['probe', 'IP'],
] as const;

test('an address that may not be learned is not hinted at', () => {
  datapath.domain(DEFAULT, false);
  datapath.prefix('192.168.0.0', 16, 1);
  datapath.prefix('2001:db8:0:0:0:0:0:0', 64, 1);
  const outside = [
    ['outsideAsks', 'IGNORED'],
    ['outsideAnswers', 'ND_OPTION'],
    ['outsideAnycast', 'OVERRIDE'],
    ['outsideDad', 'IGNORED'],
    ['outsideProbe', 'IP'],
  ] as const;
  for (const [name, counter] of outside) assert.deepEqual(count(frames[name]), { [counter]: 1 }, name);
  assert.deepEqual(datapath.seenHints(), []);
  for (const [name] of OTHERWISE) assert.deepEqual(count(frames[name]), { HINTS: 1 }, name);
});

test('an address that is provisioned is hinted at by its own MACs alone', () => {
  datapath.domain(DEFAULT);
  datapath.provision(IP4, [BOB]);
  datapath.provision(IP6, [BOB]);
  for (const [name, counter] of OTHERWISE) assert.deepEqual(count(frames[name]), { [counter]: 1 }, name);
  assert.deepEqual(datapath.seenHints(), []);
  assert.deepEqual(count(frames.bobAsks, frames.bobProbe), { HINTS: 2 });
});

test('a frozen address is not hinted at, and its owner refreshes it', () => {
  datapath.domain({ ...DEFAULT, duplicateMoves: 1 });
  count(frames.ann, frames.bob, frames.ann6, frames.bob6);
  const claims = [frames.bobAsks, frames.bobAnswers, frames.bobAnycast, frames.bobDad, frames.bobProbe];
  assert.deepEqual(count(...claims), { IGNORED: 2, ND_OPTION: 1, OVERRIDE: 1, IP: 1 });
  assert.deepEqual(datapath.seenHints(), []);
  assert.deepEqual(count(frames.asks, frames.answers, frames.anycast), { SIGHTINGS: 3 });
});

test('a message from the port and the MAC of a binding refreshes it and is no hint', () => {
  datapath.domain(DEFAULT);
  for (const name of ['asks', 'answers', 'anycast'] as const) {
    count(frames.ann6);
    datapath.age(1000);
    const [old] = datapath.bindings();
    assert.deepEqual(count(frames[name]), { SIGHTINGS: 1 }, name);
    const [fresh] = datapath.bindings();
    assert.ok(old && fresh && fresh.value.last_seen_ns > old.value.last_seen_ns + 900e6, name);
    assert.deepEqual(fresh.value, { ...old.value, last_seen_ns: fresh.value.last_seen_ns });
  }
  assert.deepEqual(datapath.seenHints(), []);
  // It does not say whose address it is.
  datapath.age(1000);
  const old = datapath.bindings();
  assert.deepEqual(count(frames.asksUnnamed), { IGNORED: 1 });
  assert.deepEqual(datapath.bindings(), old);
  datapath.domain({ learn: ARP | bits('NA', 'NS') });
  count(frames.ann6);
  assert.deepEqual(count(frames.asksUnnamed), { SIGHTINGS: 1 });
});

test('an advertisement of the known MAC sets the router flag whatever its O flag, a solicitation never does', () => {
  datapath.domain(DEFAULT);
  const flags = (): number | undefined => datapath.bindings()[0]?.value.flags;
  count(frames.ann6);
  count(frames.anycastRouter);
  assert.equal(flags(), 1);
  datapath.domain(DEFAULT);
  count(frames.ann6Router, frames.asks);
  assert.equal(flags(), 1);
});

test('a message that contradicts a binding is a hint, and leaves the binding as it is', () => {
  datapath.domain(DEFAULT);
  count(frames.ann6);
  const old = datapath.bindings();
  assert.deepEqual(count(frames.bobAsks), { HINTS: 1 });
  assert.deepEqual(hints(), [[0, kindOf('SOLICITATION'), 0x20]]);
  // The same host at another port.
  assert.deepEqual(count(on(1, frames.anycast)), { HINTS: 1 });
  assert.deepEqual(hints(), [
    [0, kindOf('SOLICITATION'), 0x20],
    [1, kindOf('ANYCAST'), 0x10],
  ]);
  assert.deepEqual(count(frames.bobAnswers, frames.bobAnycast), { HINTS: 2 });
  assert.deepEqual(datapath.bindings(), old);
});

test('a host that checks an address that is in use gives no hint', () => {
  datapath.domain(DEFAULT);
  count(frames.ann, frames.ann6);
  const old = datapath.bindings();
  assert.deepEqual(count(frames.probe, frames.dad, frames.bobProbe, on(1, frames.bobDad)), {
    IP: 2,
    IGNORED: 2,
  });
  assert.deepEqual(datapath.seenHints(), []);
  assert.deepEqual(datapath.rejections(), []);
  assert.deepEqual(datapath.bindings(), old);
});

test('a sighting that comes too fast is rejected, and hints where the answer to a probe is learned', () => {
  const slow = { newIntervalNs: 3_600_000_000, newBurst: 1 };
  const cases = [
    [ARP | bits('NA'), 2],
    [bits('ARP_REQUEST', 'NA'), 1],
    [ARP, 1],
  ] as const;
  for (const [learn, most] of cases) {
    datapath.domain({ ...slow, learn });
    assert.deepEqual(count(frames.other, frames.ann, frames.ann6), {
      SIGHTINGS: 1,
      CREATED: 1,
      ...(learn & bits('NA') ? { RATE_LIMIT: 2 } : { RATE_LIMIT: 1, IGNORED: 1 }),
    });
    assert.deepEqual(
      hints(),
      Array.from({ length: most }, () => [0, kindOf('RATE'), 0x10]),
    );
  }
  // A port that is full learns no answer either.
  datapath.domain({ ...DEFAULT, maxBindings: 0 });
  assert.deepEqual(count(frames.ann, frames.ann6), { PORT_LIMIT: 2 });
  assert.deepEqual(datapath.seenHints(), []);
});

test('a repeated hint updates its time in place, and makes a record again after a pause', () => {
  datapath.domain(DEFAULT);
  datapath.ring('consume');
  const only = () => {
    const [hint, ...more] = datapath.seenHints();
    assert.deepEqual(more, []);
    assert.ok(hint);
    return hint;
  };
  count(frames.asks);
  const first = only();
  assert.deepEqual(count(frames.asks), { HINTS: 1 });
  sleepSync(150);
  assert.deepEqual(count(frames.asks, frames.asks), { HINTS: 2 });
  const again = only();
  assert.deepEqual(again.key, first.key);
  assert.ok(again.value.time_ns > first.value.time_ns + 100e6);
  assert.equal(datapath.ring('consume').records.length, 1);
  datapath.ageHints(6_000);
  count(frames.asks);
  assert.equal(datapath.ring('consume').records.length, 1);
  assert.ok(only().value.time_ns > again.value.time_ns);
  // The last kind is the one that counts. It is the same hint, so that nobody evades the pauses by another kind.
  count(frames.anycast);
  assert.deepEqual([only().key.slot, only().value.kind], [first.key.slot, kindOf('ANYCAST')]);
  assert.equal(datapath.ring('consume').records.length, 0);
});

test('many hints at once all have their slots, and make few records', () => {
  datapath.domain(DEFAULT);
  datapath.ring('consume');
  assert.deepEqual(count(...hosts, on(1, frames.probe)), { HINTS: HOSTS + 1 });
  const { records } = datapath.ring('consume');
  const seenHints = datapath.seenHints();
  // A slot that two of them share has the later one.
  const slots = new Set(seenHints.map(({ key }) => `${key.port} ${key.slot}`));
  assert.equal(slots.size, seenHints.length);
  assert.ok(seenHints.length > HOSTS / 2, `${seenHints.length} hints`);
  const ofPort = records.filter(({ port }) => port === datapath.ports[0]);
  const times = seenHints.map(({ value }) => value.time_ns);
  const seconds = (Math.max(...times) - Math.min(...times)) / 1e9;
  assert.ok(ofPort.length >= 16 && ofPort.length <= 17 + 10 * seconds, `${ofPort.length} in ${seconds} s`);
  // Another port has its own rate.
  assert.equal(records.length - ofPort.length, 1);
});

test('a port without counts keeps its hints, and makes no record', () => {
  datapath.domain(DEFAULT);
  datapath.batch([
    `map delete pinned ${datapath.map('state')} key ${(datapath.ports[0] & 255).toString()} 0 0 0`,
  ]);
  datapath.ring('consume');
  assert.deepEqual(count(frames.asks), { HINTS: 1 });
  assert.equal(datapath.seenHints().length, 1);
  assert.equal(datapath.ring('consume').records.length, 0);
});
