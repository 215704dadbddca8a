// The records of bpf/snoopy.h against bytes of real maps: `bpftool -j map dump pinned .../NAME` with what BTF says.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import { SnoopyError } from '../../../src/base/errors.ts';
import {
  type Binding,
  COUNTERS,
  decodeBindings,
  decodeChange,
  decodeLayout,
  decodePortPolicy,
  decodePortState,
  decodePrefixRule,
  decodeProbes,
  decodeRejections,
  decodeStaticRule,
  encodeBinding,
  encodeBindingKey,
  encodeLayout,
  encodePortPolicy,
  encodePrefixKey,
  encodeProbe,
  encodeStaticKey,
  encodeVlans,
  isComplete,
  isHeardSince,
  type Rejection,
  SIZE,
  SNOOPY_ABI,
  unfinishedLayout,
} from '../../../src/datapath/records.ts';

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');
const index = (value: number): IfIndex => value as IfIndex;
const ip = (text: string): IpAddress => text as IpAddress;
const mac = (text: string): Mac => text as Mac;

// bindings: 10.0.0.77 in bridge 2, port 4, first seen 3095781072417 ns, last 4229644624304 ns.
const KEY = '02000000 0000 0200 0a00004d 000000000000000000000000';
const VALUE =
  '4e49347ec857 00 00 04000000 00000000 215eeecad0020000 b02177cad8030000 0000000000000000 0000000000000000' +
  '000000000000 0000 00000000 00000000';
// ports: bridge 2, learn 7, flags 2 (owns its clsact), 64 bindings, one in 50 ms, 20 at once, 5 moves in 3 min, 9 min.
const PORT =
  '02000000 0000 07 02 40000000 80f0fa02 14000000 05000000 0008d6e829000000 001882ba7d000000 0000000000000000' +
  '00'.repeat(512);
// prefixes: 96 bits, bridge 2, VLAN 0, 10.0.0.1.
const PREFIX = '60000000 02000000 0000 0200 0a000001 000000000000000000000000';

it('a binding of a real map is read as bpftool reads it, and written as it was', () => {
  const [binding] = decodeBindings(bytes(KEY), bytes(VALUE), 1);
  assert.deepEqual(binding, {
    bridge: 2,
    vlan: 0,
    ip: '10.0.0.77',
    mac: '4e:49:34:7e:c8:57',
    router: false,
    port: 4,
    moves: 0,
    firstSeenMs: 3095781.072417,
    lastSeenMs: 4229644.624304,
    windowMs: 0,
    frozenUntilMs: 0,
    owner: null,
  } satisfies Record<keyof Binding, unknown>);
  assert.ok(binding !== undefined);
  assert.equal(hex(encodeBindingKey(binding)), KEY.replaceAll(' ', ''));
  // User space writes whole milliseconds, and none that is yet to come: later means heard since.
  const rounded = decodeBindings(bytes(KEY), encodeBinding(binding), 1)[0];
  assert.deepEqual(rounded, { ...binding, firstSeenMs: 3095781, lastSeenMs: 4229644 });
});

it('a binding whose MAC has changed knows who had it before, and since when it is quarrelled about', () => {
  const value = bytes(VALUE);
  value.set(bytes('00c817a804000000'), 32);
  value.set(bytes('020000000001 0000 09000000'), 48);
  const [binding] = decodeBindings(bytes(KEY), value, 1);
  assert.equal(binding?.windowMs, 20_000);
  assert.deepEqual(binding?.owner, { mac: '02:00:00:00:00:01', port: 9 });
});

it('whether a binding was heard or frozen since it was read', () => {
  const [read] = decodeBindings(bytes(KEY), bytes(VALUE), 1);
  assert.ok(read !== undefined);
  const after = (offset: number, ns: bigint): Uint8Array => {
    const value = bytes(VALUE);
    new DataView(value.buffer).setBigUint64(offset, ns, true);
    return value;
  };
  assert.equal(isHeardSince(bytes(VALUE), read), false);
  // A version before had shorter ones.
  assert.equal(isHeardSince(bytes(VALUE).subarray(0, 48), read), false);
  assert.equal(isHeardSince(after(24, 4229644624305n), read), true);
  assert.equal(isHeardSince(after(40, 1n), read), true);
});

it('an IPv6 key has all sixteen bytes, and a router its flag', () => {
  const key = { bridge: index(7), vlan: 10, ip: ip('2001:db8::5') };
  const keyBytes = encodeBindingKey(key);
  assert.equal(hex(keyBytes), '070000000a000a0020010db8000000000000000000000005');
  const value = bytes(VALUE);
  value[6] = 1;
  assert.equal(decodeBindings(keyBytes, value, 1)[0]?.router, true);
});

it("a port's policy of a real map is read and written", () => {
  const policy = decodePortPolicy(bytes(PORT), 0);
  assert.deepEqual(policy, {
    bridge: 2,
    pvid: 0,
    learn: 7,
    linkLocal: false,
    ownsClsact: true,
    maxBindings: 64,
    newIntervalNs: 50_000_000,
    newBurst: 20,
    duplicateMoves: 5,
    duplicateWindowMs: 180_000,
    duplicateHoldMs: 540_000,
    released: 0,
    vlans: null,
  });
  assert.equal(hex(encodePortPolicy(policy)), PORT.replaceAll(' ', ''));
  const aware = {
    ...policy,
    vlans: encodeVlans([
      { start: 1, end: 1 },
      { start: 4094, end: 4094 },
    ]),
  };
  const written = encodePortPolicy(aware);
  assert.deepEqual([written[7], written[48], written[48 + 511]], [2 | 4, 1 << 1, 1 << 6]);
  assert.deepEqual(decodePortPolicy(written, 0), aware);
  const negative = { ...policy, released: -3 };
  assert.deepEqual(decodePortPolicy(encodePortPolicy(negative), 0), negative);
});

it("a port's state: gained, lost, limited", () => {
  const state = '0500000000000000 0200000000000000 ffffffffffffff0f 0000000001000000';
  assert.deepEqual(decodePortState(bytes(state), 0), { gained: 5, lost: 2, limited: 2 ** 32 });
});

it('prefix rules: a prefix, a family, a whole bridge', () => {
  const own = { bridge: index(2), vlan: 0, prefix: { ip: ip('10.0.0.1'), length: 32 }, allow: false };
  assert.deepEqual(decodePrefixRule(bytes(PREFIX), 0, 0), own);
  for (const rule of [
    own,
    { bridge: index(2), vlan: 10, prefix: { ip: ip('::'), length: 0 }, allow: true },
    { bridge: index(2), vlan: 0, prefix: null, allow: true },
  ]) {
    assert.deepEqual(decodePrefixRule(encodePrefixKey(rule), 0, rule.allow ? 1 : 0), rule);
  }
});

it('static rules: the address itself, and a MAC that may have it', () => {
  const key = { bridge: index(2), vlan: 10, ip: ip('10.0.0.53') };
  for (const rule of [
    { ...key, mac: null },
    { ...key, mac: mac('02:00:00:00:00:01') },
  ]) {
    assert.deepEqual(decodeStaticRule(encodeStaticKey(rule), 0), rule);
  }
});

it('the note of a probe', () => {
  const state = { lastMs: 1234, count: 2 };
  const probes = decodeProbes(bytes(KEY), encodeProbe(state), 1);
  assert.deepEqual([...probes], [['2 0 10.0.0.77', state]]);
});

it('the note of a rejection, of a real map', () => {
  const key = bytes('e9030000 0000 0200 c0a8010a 000000000000000000000000');
  const value = bytes(
    '09000000 03000000 020000000220 020000000110 00000000 0200000000000000 f566012320020000 ef6c052320020000',
  );
  const [noted] = decodeRejections(key, value, 1);
  assert.deepEqual(noted, {
    bridge: 1001,
    vlan: 0,
    ip: '192.168.1.10',
    reason: 'spoofed',
    port: 3,
    source: '02:00:00:00:02:20',
    claimed: '02:00:00:00:01:10',
    count: 2,
    firstMs: 2337049.503477,
    lastMs: 2337049.767151,
  } satisfies Record<keyof Rejection, unknown>);
  value.fill(0, 14, 20);
  assert.equal(decodeRejections(key, value, 1)[0]?.claimed, null);
  for (const [counter, isReason] of [
    ['sightings', false],
    ['ignored', true],
    ['ring_dropped', false],
    ['duplicates', false],
    ['vlan', true],
    ['table_full', true],
  ] as const) {
    value[0] = COUNTERS.indexOf(counter);
    if (isReason) assert.equal(decodeRejections(key, value, 1)[0]?.reason, counter);
    else assert.throws(() => decodeRejections(key, value, 1), SnoopyError, counter);
  }
  value[0] = COUNTERS.length;
  assert.throws(() => decodeRejections(key, value, 1), SnoopyError);
  value[0] = COUNTERS.indexOf('subnet');
  for (let length = 0; length < SIZE.rejection; length++)
    assert.throws(() => decodeRejections(key, value.subarray(0, length), 1), RangeError, `${length}`);
});

it('the layout record knows a load that did not finish', () => {
  const layout = { abi: SNOOPY_ABI, netns: 4026532384, digest: 'ab'.repeat(32) };
  assert.deepEqual(decodeLayout(encodeLayout(layout)), layout);
  assert.equal(isComplete(layout), true);
  assert.equal(isComplete(decodeLayout(encodeLayout(unfinishedLayout(1)))), false);
});

it('what is cut short, or has a family or kind that is none, is refused', () => {
  assert.throws(() => decodeBindings(bytes(KEY).subarray(0, 10), bytes(VALUE), 1), RangeError);
  for (let length = 0; length < SIZE.binding; length++) {
    assert.throws(
      () => decodeBindings(bytes(KEY), bytes(VALUE).subarray(0, length), 1),
      RangeError,
      `${length}`,
    );
  }
  const odd = bytes(KEY);
  odd[6] = 3;
  assert.throws(() => decodeBindings(odd, bytes(VALUE), 1), SnoopyError);
  assert.throws(() => decodeChange(new Uint8Array(SIZE.change - 1)), SnoopyError);
  assert.throws(() => decodeChange(new Uint8Array(SIZE.change)), SnoopyError, 'kind 0');
});

it('names and numbers of the header are those of the TypeScript side', () => {
  const header = readFileSync(join(import.meta.dirname, '../../../../bpf/snoopy.h'), 'utf8');
  const names = [...header.matchAll(/^#define SNOOPY_COUNTER_(\w+)\s+(\d+)/gm)];
  assert.deepEqual(
    names.map(([, name = '', value]) => [name.toLowerCase(), Number(value)]),
    COUNTERS.map((name, i) => [name, i]),
  );
  assert.match(header, new RegExp(`#define SNOOPY_ABI\\s+${SNOOPY_ABI}\\b`));
  const sizes = new Map(
    [...header.matchAll(/^SNOOPY_SIZE\(snoopy_(\w+), (\d+)\);/gm)].map(([, name, size]) => [
      name,
      Number(size),
    ]),
  );
  const ours = new Map<string, number>([
    ['binding_key', SIZE.bindingKey],
    ['binding', SIZE.binding],
    ['port', SIZE.port],
    ['port_state', SIZE.portState],
    ['prefix_key', SIZE.prefixKey],
    ['static_key', SIZE.staticKey],
    ['change', SIZE.change],
    ['probe', SIZE.probe],
    ['rejection', SIZE.rejection],
    ['layout', SIZE.layout],
  ]);
  assert.deepEqual(sizes, ours);
});
