// Frames through real ports: tags that the kernel has taken out, frames in pages, bytes unchanged.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Scope } from '../lib/scope.ts';
import { until } from '../lib/wait.ts';
import { buildFrames, Datapath, difference } from './datapath.ts';
import { ANN, arp, BOB, filler, na, tlla } from './messages.ts';

const frames = buildFrames({
  arp: arp(),
  na: na(),
  longNa: na({ options: [tlla(ANN), filler(150)] }),
  tagged: arp({ tags: [['Dot1Q', { vlan: 20, prio: 3 }]] }),
  taggedNa: na({ tags: [['Dot1Q', { vlan: 20 }]] }),
  priority: arp({ tags: [['Dot1Q', { vlan: 0 }]] }),
  service: arp({ tags: [['Dot1AD', { vlan: 20 }]] }),
  twoTags: arp({
    tags: [
      ['Dot1Q', { vlan: 10 }],
      ['Dot1Q', { vlan: 20 }],
    ],
  }),
  twoTagsNa: na({
    tags: [
      ['Dot1AD', { vlan: 10 }],
      ['Dot1Q', { vlan: 20 }],
    ],
  }),
  badNa: na({ options: [tlla(ANN), filler(150)], set: { 1285: 'ff' } }),
  data: {
    layers: [
      ['Ether', { src: ANN, dst: BOB }],
      ['IPv6', { src: '2001:db8::1', dst: '2001:db8::2' }],
      ['UDP', {}],
      ['Raw', { load: { hex: '00'.repeat(9) } }],
    ],
  },
});

interface Seen {
  readonly length: number;
  readonly linear: number;
  readonly vlan_present: number;
  readonly vlan_tci: number;
}

const scope = new Scope();
let datapath: Datapath;
let probe: ReturnType<Datapath['loadProbe']>;

/** What test/kernel/probe.bpf.c recorded of the last frame on its way to the program. */
function seen(): Seen {
  const [dump] = datapath.batch([`map dump pinned ${probe.seen}`]) as [{ formatted: { value: Seen } }[]];
  const [entry] = dump;
  assert.ok(entry);
  return entry.formatted.value;
}

before(() => {
  datapath = new Datapath(scope);
  probe = datapath.loadProbe();
  datapath.netns.ipBatch(['tuntap add dev tap0 mode tap', 'link set tap0 up']);
  for (const port of ['port0', 'tap0']) {
    datapath.attach(port, probe.program, 1);
    datapath.attach(port);
  }
});
after(() => scope.close());

/** Sends frames into a port and returns the counters once `least` messages are counted. */
async function arrive(least: number, mode: 'packet' | 'frags', device: string, hex: readonly string[]) {
  const before = datapath.counters();
  datapath.send(mode, device, hex);
  const messages = (counted: Record<string, number>): number =>
    Object.entries(counted).reduce((sum, [name, n]) => (name === 'CREATED' ? sum : sum + n), 0);
  return until(
    `${least} messages to be counted`,
    () => difference(before, datapath.counters()),
    (counted) => messages(counted) >= least,
  );
}

const cases = {
  'an untagged frame': { frame: 'arp', vlan: 7, tag: [0, 0] },
  'an untagged NA': { frame: 'na', vlan: 7, tag: [0, 0] },
  'a tag that the kernel has taken out': { frame: 'tagged', vlan: 20, tag: [1, (3 << 13) | 20] },
  'an NA whose tag the kernel has taken out': { frame: 'taggedNa', vlan: 20, tag: [1, 20] },
  'a priority tag that the kernel has taken out': { frame: 'priority', vlan: 7, tag: [1, 0] },
} as const;

for (const [name, { frame, vlan, tag }] of Object.entries(cases)) {
  test(`learns from ${name}`, async () => {
    datapath.domain({ pvid: 7, vlans: [7, 20] });
    const counted = await arrive(1, 'packet', 'host0', [frames[frame]]);
    assert.deepEqual(counted, { SIGHTINGS: 1, CREATED: 1 });
    const { vlan_present, vlan_tci } = seen();
    assert.deepEqual([vlan_present, vlan_tci], tag);
    assert.deepEqual(
      datapath.bindings().map(({ key, value }) => [key.vlan, value.port]),
      [[vlan, datapath.ports[0]]],
    );
  });
}

for (const [name, frame, vlans] of [
  ['an 802.1ad tag beside the frame', 'service', undefined],
  ['a second tag behind the one taken out', 'twoTags', undefined],
  ['an NA with a second tag behind an 802.1ad tag', 'twoTagsNa', undefined],
  ['a tag that the kernel has taken out, of a VLAN that the port is not in', 'tagged', [7, 21]],
  ['an NA whose tag, of such a VLAN, the kernel has taken out', 'taggedNa', [7, 21]],
  ['a priority tag that the kernel has taken out, on a port without a PVID', 'priority', [20]],
] as const) {
  test(`does not learn from ${name}`, async () => {
    datapath.domain(vlans === undefined ? {} : { vlans });
    const counted = await arrive(1, 'packet', 'host0', [frames[frame]]);
    assert.deepEqual(counted, { VLAN: 1 });
    assert.equal(seen().vlan_present, 1);
    assert.deepEqual(datapath.bindings(), []);
  });
}

/** A frame in pieces: hex of each, with the given lengths, the rest in the last. */
function pieces(hex: string, ...lengths: readonly number[]): string {
  let rest = hex;
  const taken = lengths.map((length) => {
    const piece = rest.slice(0, length * 2);
    rest = rest.slice(length * 2);
    return piece;
  });
  return [...taken, rest].join(' ');
}

for (const [name, frame, lengths] of [
  ['ARP in two pieces', 'arp', [14]],
  ['ARP in pieces of odd lengths', 'arp', [14, 3, 5, 7]],
  ['an NA in two pieces', 'na', [14]],
  ['an NA cut within its option', 'na', [54, 27]],
  ['an NA of many pages', 'longNa', [14, 100, 333, 201, 64]],
] as const) {
  test(`learns from a frame that is not linear: ${name}`, async () => {
    datapath.domain();
    datapath.batch([policyOf('tap0')]);
    const counted = await arrive(1, 'frags', 'tap0', [pieces(frames[frame], ...lengths)]);
    assert.deepEqual(counted, { SIGHTINGS: 1, CREATED: 1 });
    const { linear, length } = seen();
    assert.equal(linear, 0, 'the kernel made the frame linear before the program saw it');
    assert.equal(length, frames[frame].length / 2);
    assert.equal(datapath.bindings().length, 1);
  });
}

test('reads frames that lie in pages', async () => {
  datapath.domain();
  datapath.batch([policyOf('tap0')]);
  const counted = await arrive(1, 'frags', 'tap0', [pieces(frames.badNa, 14, 700)]);
  assert.deepEqual(counted, { CHECKSUM: 1 });
});

/** Lines for bpftool that give a device the policy of the first port, with room for its bindings. */
function policyOf(device: string): string {
  const [link] = datapath.netns.json<{ ifindex: number }[]>('ip', '-j', 'link', 'show', device);
  const ifindex = link?.ifindex ?? 0;
  return datapath.policyLike(ifindex);
}

test('a message cut at any length, linear or not, is never learned from', async () => {
  datapath.domain();
  datapath.batch([policyOf('tap0')]);
  const cut = [frames.arp, frames.na, frames.tagged, frames.taggedNa].flatMap((hex) =>
    Array.from({ length: hex.length / 2 - 14 }, (_, at) => hex.slice(0, (14 + at) * 2)),
  );
  const counted = await arrive(1, 'packet', 'host0', [...cut, frames.arp]);
  const after = await until(
    'the whole message after the cut ones',
    () => datapath.bindings(),
    (bindings) => bindings.length > 0,
  );
  assert.equal(after.length, 1);
  assert.ok(Object.keys(counted).every((name) => ['TRUNCATED', 'SIGHTINGS', 'CREATED'].includes(name)));

  datapath.domain();
  datapath.batch([policyOf('tap0')]);
  const inPages = cut.filter((hex) => hex.length > 30).map((hex) => pieces(hex, 14));
  await arrive(1, 'frags', 'tap0', [...inPages, pieces(frames.arp, 14)]);
  const bindings = await until(
    'the whole message after the cut ones',
    () => datapath.bindings(),
    (found) => found.length > 0,
  );
  assert.equal(bindings.length, 1);
});

test('frames reach the bridge behind the port unaltered', async () => {
  const all = Object.values(frames);
  datapath.domain();
  datapath.netns.ipBatch([
    'link add br0 type bridge',
    'link set br0 type bridge mcast_snooping 0 forward_delay 0',
    'link set br0 up',
    'link set port0 master br0',
    'link set port1 master br0',
  ]);
  await until(
    'both ports to forward',
    () => datapath.netns.run('bridge', 'link', 'show'),
    (text) => text.split('state forwarding').length === 3,
  );
  const capture = datapath.netns.start('/usr/bin/python3', '-u', '-c', CAPTURE, 'host1', String(all.length));
  await capture.printed(/ready/);
  datapath.send('packet', 'host0', all);
  const { stdout } = await capture.ended(30_000);
  assert.deepEqual(stdout.trim().split('\n').slice(1), all);
});

/** Prints frames that arrive at an interface, with the tag that the kernel took out put back. */
const CAPTURE = `
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
s.bind((sys.argv[1], 3))
s.settimeout(20)
print("ready")
left = int(sys.argv[2])
while left:
    frame, control, _, where = s.recvmsg(65536, 256)
    if where[2] == 4:  # PACKET_OUTGOING
        continue
    status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", control[0][2][:20])
    if status & 16:  # TP_STATUS_VLAN_VALID
        frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
    print(frame.hex())
    left -= 1
`;
