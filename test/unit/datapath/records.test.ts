// The records of bpf/snoopy.h, decoded from bytes of real maps: `bpftool -j map dump pinned .../NAME`, which reads
// them by BTF.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { IfIndex, IpAddress, Mac } from '../../../src/base/address.ts';
import { SnoopyError } from '../../../src/base/errors.ts';
import { type Binding, bindingCodec, isSeenSince } from '../../../src/datapath/records/binding.ts';
import { bindingKeyCodec } from '../../../src/datapath/records/binding-key.ts';
import { decodeChange } from '../../../src/datapath/records/change.ts';
import { type Hint, hintCodec, hintKeyCodec } from '../../../src/datapath/records/hint.ts';
import { isComplete, layoutCodec, unfinishedLayout } from '../../../src/datapath/records/layout.ts';
import { encodeVlans, portPolicyCodec, portStateCodec } from '../../../src/datapath/records/port.ts';
import { prefixKeyCodec, prefixRuleCodec } from '../../../src/datapath/records/prefix-rule.ts';
import { probeCodec } from '../../../src/datapath/records/probe.ts';
import { type Rejection, rejectionDecoder } from '../../../src/datapath/records/rejection.ts';
import { type SeenHint, seenHintCodec, seenHintKeyCodec } from '../../../src/datapath/records/seen-hint.ts';
import { staticKeyCodec, staticRuleCodec } from '../../../src/datapath/records/static-rule.ts';
import {
  BINDING,
  BINDING_KEY,
  CHANGE,
  COUNTERS,
  HINT,
  HINT_KEY,
  LAYOUT,
  MAPS,
  PORT,
  PORT_STATE,
  PREFIX_KEY,
  PROBE,
  REJECTION,
  SEEN_HINT,
  SEEN_HINT_KEY,
  SNOOPY_ABI,
  STATIC_KEY,
} from '../../../src/generated/layouts.ts';
import { decodeEntry, keyBytes, valueBytes } from '../../lib/records.ts';

const BINDING_ID = [bindingKeyCodec, BINDING_KEY.size] as const;
const BINDINGS = [bindingCodec, BINDING.size] as const;
const POLICIES = [portPolicyCodec, PORT.size] as const;
const STATES = [portStateCodec, PORT_STATE.size] as const;
const PREFIX_KEYS = [prefixKeyCodec, PREFIX_KEY.size] as const;
const PREFIXES = [prefixRuleCodec, MAPS.prefixes.valueSize] as const;
const STATIC_KEYS = [staticKeyCodec, STATIC_KEY.size] as const;
const STATICS = [staticRuleCodec, MAPS.statics.valueSize] as const;
const PROBES = [probeCodec, PROBE.size] as const;
const SEEN_HINT_KEYS = [seenHintKeyCodec, SEEN_HINT_KEY.size] as const;
const SEEN_HINTS = [seenHintCodec, SEEN_HINT.size] as const;
const HINT_KEYS = [hintKeyCodec, HINT_KEY.size] as const;
const HINTS = [hintCodec, HINT.size] as const;
const LAYOUTS = [layoutCodec, LAYOUT.size] as const;
const NONE = new Uint8Array(0);
const REJECTIONS = [rejectionDecoder, REJECTION.size] as const;

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
// ports: bridge 2, learn 7, flags 2 (owns its clsact), 64 bindings, one in 50 ms, 20 at once, 5 moves in 3 min, 9 min,
// 3 rejections reported.
const POLICY =
  '02000000 0000 07 02 40000000 80f0fa02 14000000 05000000 0008d6e829000000 001882ba7d000000 0000000000000000' +
  '0300000000000000' +
  '00'.repeat(512);
// prefixes: 96 bits, bridge 2, VLAN 0, 10.0.0.1.
const PREFIX = '60000000 02000000 0000 0200 0a000001 000000000000000000000000';

it('a binding of a real map is decoded as bpftool decodes it, and encodes to the same bytes', () => {
  const binding = decodeEntry(BINDINGS, bytes(KEY), bytes(VALUE));
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
  assert.equal(hex(keyBytes(BINDING_ID, binding)), KEY.replaceAll(' ', ''));
  // User space writes whole milliseconds, rounded down. A later time therefore means "seen since".
  const rounded = decodeEntry(BINDINGS, bytes(KEY), valueBytes(BINDINGS, binding));
  assert.deepEqual(rounded, { ...binding, firstSeenMs: 3095781, lastSeenMs: 4229644 });
});

it('a binding whose MAC changed has its previous owner and the start of the conflict', () => {
  const value = bytes(VALUE);
  value.set(bytes('00c817a804000000'), 32);
  value.set(bytes('020000000001 0000 09000000'), 48);
  const binding = decodeEntry(BINDINGS, bytes(KEY), value);
  assert.equal(binding.windowMs, 20_000);
  assert.deepEqual(binding.owner, { mac: '02:00:00:00:00:01', port: 9 });
});

it('a binding knows whether it was seen or frozen since it was read', () => {
  const read = decodeEntry(BINDINGS, bytes(KEY), bytes(VALUE));
  const after = (offset: number, ns: bigint): Binding => {
    const value = bytes(VALUE);
    new DataView(value.buffer).setBigUint64(offset, ns, true);
    return decodeEntry(BINDINGS, bytes(KEY), value);
  };
  assert.equal(isSeenSince(undefined, read), false);
  assert.equal(isSeenSince(read, read), false);
  // The next time that differs from it in milliseconds.
  assert.equal(isSeenSince(after(24, 4229644624305n), read), true);
  assert.equal(isSeenSince(after(40, 1n), read), true);
});

it('an IPv6 key has all sixteen bytes, and a router has its flag', () => {
  const key = { bridge: index(7), vlan: 10, ip: ip('2001:db8::5') };
  const encoded = keyBytes(BINDING_ID, key);
  assert.equal(hex(encoded), '070000000a000a0020010db8000000000000000000000005');
  const value = bytes(VALUE);
  value[6] = 1;
  assert.equal(decodeEntry(BINDINGS, encoded, value).router, true);
});

it('the policy of a port of a real map is decoded and encoded', () => {
  const policy = decodeEntry(POLICIES, NONE, bytes(POLICY));
  assert.deepEqual(policy, {
    bridge: 2,
    pvid: 0,
    learn: 7,
    linkLocal: false,
    ownsQdisc: true,
    maxBindings: 64,
    newIntervalNs: 50_000_000,
    newBurst: 20,
    duplicateMoves: 5,
    duplicateWindowMs: 180_000,
    duplicateHoldMs: 540_000,
    released: 0,
    reported: 3,
    vlans: null,
  });
  assert.equal(hex(valueBytes(POLICIES, policy)), POLICY.replaceAll(' ', ''));
  const aware = {
    ...policy,
    vlans: encodeVlans([
      { start: 1, end: 1 },
      { start: 4094, end: 4094 },
    ]),
  };
  const written = valueBytes(POLICIES, aware);
  assert.deepEqual([written[7], written[56], written[56 + 511]], [2 | 4, 1 << 1, 1 << 6]);
  assert.deepEqual(decodeEntry(POLICIES, NONE, written), aware);
  const negative = { ...policy, released: -3 };
  assert.deepEqual(decodeEntry(POLICIES, NONE, valueBytes(POLICIES, negative)), negative);
});

it('the state of a port: gained, lost, limited', () => {
  const state = '0500000000000000 0200000000000000 ffffffffffffff0f 0000000001000000 ffffffffffffff0f';
  assert.deepEqual(decodeEntry(STATES, NONE, bytes(state)), { gained: 5, lost: 2, limited: 2 ** 32 });
});

it('prefix rules: a prefix, a family, a whole bridge', () => {
  const own = { bridge: index(2), vlan: 0, prefix: { ip: ip('10.0.0.1'), length: 32 }, allow: false };
  assert.deepEqual(decodeEntry(PREFIXES, bytes(PREFIX), bytes('00')), own);
  for (const rule of [
    own,
    { bridge: index(2), vlan: 10, prefix: { ip: ip('::'), length: 0 }, allow: true },
    { bridge: index(2), vlan: 0, prefix: null, allow: true },
  ]) {
    assert.deepEqual(decodeEntry(PREFIXES, keyBytes(PREFIX_KEYS, rule), valueBytes(PREFIXES, rule)), rule);
  }
});

it('static rules: the address itself, and a MAC that may have it', () => {
  const key = { bridge: index(2), vlan: 10, ip: ip('10.0.0.53') };
  for (const rule of [
    { ...key, mac: null },
    { ...key, mac: mac('02:00:00:00:00:01') },
  ]) {
    assert.deepEqual(decodeEntry(STATICS, keyBytes(STATIC_KEYS, rule), valueBytes(STATICS, rule)), rule);
    assert.deepEqual(valueBytes(STATICS, rule), bytes('01'));
  }
});

it('the record of a probe', () => {
  const address = { bridge: index(2), vlan: 0, ip: ip('10.0.0.77') };
  for (const probe of [
    { ...address, lastMs: 1234, count: 2, decided: null },
    { ...address, lastMs: 0, count: 0, decided: { mac: mac('02:00:00:00:00:01'), atMs: 5678 } },
  ])
    assert.deepEqual(decodeEntry(PROBES, bytes(KEY), valueBytes(PROBES, probe)), probe);
});

it('a hint that the program has seen', () => {
  const key = '04000000 7f000000';
  const value = `${KEY} 020000000110 04 02 b02177cad8030000 80588d4900000000`;
  const hint = decodeEntry(SEEN_HINTS, bytes(key), bytes(value));
  assert.deepEqual(hint, {
    port: 4,
    slot: 127,
    bridge: 2,
    vlan: 0,
    ip: '10.0.0.77',
    mac: '02:00:00:00:01:10',
    kind: 'tentative',
    probes: 2,
    seenMs: 4229644.624304,
    probedMs: 1234,
  } satisfies Record<keyof SeenHint, unknown>);
  assert.equal(hex(keyBytes(SEEN_HINT_KEYS, hint)), key.replaceAll(' ', ''));
  const written = decodeEntry(SEEN_HINTS, bytes(key), valueBytes(SEEN_HINTS, hint));
  assert.deepEqual(written, { ...hint, seenMs: 4229644 });
  // The kinds that user space adds are none of the program's.
  for (const [kind, name] of [
    [0, null],
    [1, 'solicitation'],
    [2, 'unnamed'],
    [3, 'anycast'],
    [5, 'rate'],
    [6, null],
    [16, null],
    [17, null],
  ] as const) {
    const other = bytes(value);
    other[SEEN_HINT.kind] = kind;
    if (name !== null) assert.equal(decodeEntry(SEEN_HINTS, bytes(key), other).kind, name);
    else assert.throws(() => decodeEntry(SEEN_HINTS, bytes(key), other), SnoopyError, `${kind}`);
  }
});

it('a hint that is remembered', () => {
  const hint: Hint = {
    bridge: index(2),
    vlan: 10,
    ip: ip('2001:db8::5'),
    mac: mac('02:00:00:00:01:10'),
    kind: 'fabric',
    probes: 2,
    seenMs: 1234,
    probedMs: 2345,
  };
  const key = keyBytes(HINT_KEYS, hint);
  assert.equal(hex(key), '020000000a000a0020010db80000000000000000000000050200000001100000');
  const value = valueBytes(HINTS, hint);
  assert.equal(hex(value), '1002000000000000 80588d4900000000 40dcc58b00000000'.replaceAll(' ', ''));
  assert.deepEqual(decodeEntry(HINTS, key, value), hint);
  const often: Hint = { ...hint, kind: 'ended', probes: 1000 };
  assert.deepEqual(decodeEntry(HINTS, key, valueBytes(HINTS, often)), { ...often, probes: 255 });
  value[HINT.kind] = 18;
  assert.throws(() => decodeEntry(HINTS, key, value), SnoopyError);
});

it('the record of a rejection, from a real map', () => {
  const key = bytes('e9030000 0000 0200 c0a8010a 000000000000000000000000');
  const value = bytes(
    '0a000000 03000000 020000000220 020000000110 00000000 0200000000000000 f566012320020000 ef6c052320020000',
  );
  const noted = decodeEntry(REJECTIONS, key, value);
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
  assert.equal(decodeEntry(REJECTIONS, key, value).claimed, null);
  for (const [counter, isReason] of [
    ['sightings', false],
    ['ignored', true],
    ['ring_dropped', false],
    ['duplicates', false],
    ['hints', false],
    ['vlan', true],
    ['table_full', true],
  ] as const) {
    value[0] = COUNTERS.indexOf(counter);
    if (isReason) assert.equal(decodeEntry(REJECTIONS, key, value).reason, counter);
    else assert.throws(() => decodeEntry(REJECTIONS, key, value), SnoopyError, counter);
  }
  value[0] = COUNTERS.length;
  assert.throws(() => decodeEntry(REJECTIONS, key, value), SnoopyError);
  value[0] = COUNTERS.indexOf('subnet');
  for (let length = 0; length < REJECTION.size; length++)
    assert.throws(() => decodeEntry(REJECTIONS, key, value.subarray(0, length)), SnoopyError, `${length}`);
});

it('the layout record shows a load that did not finish', () => {
  const layout = { abi: SNOOPY_ABI, netns: 4026532384, digest: 'ab'.repeat(32) };
  assert.deepEqual(decodeEntry(LAYOUTS, NONE, valueBytes(LAYOUTS, layout)), layout);
  assert.equal(isComplete(layout), true);
  assert.equal(isComplete(decodeEntry(LAYOUTS, NONE, valueBytes(LAYOUTS, unfinishedLayout(1)))), false);
});

it('a record that is cut short, or has an unknown family or kind, is malformed', () => {
  const key = bytes(KEY);
  const value = bytes(VALUE);
  assert.throws(() => decodeEntry(BINDINGS, key.subarray(0, 10), value), SnoopyError);
  // The structure ends in padding.
  for (let length = 0; length < BINDING.pad2; length++) {
    // An unknown owner has no port.
    if (length >= BINDING.pad && length < BINDING.pad2) value[BINDING.ownerMac] = 2;
    assert.throws(() => decodeEntry(BINDINGS, key, value.subarray(0, length)), SnoopyError, `${length}`);
  }
  key[6] = 3;
  assert.throws(() => decodeEntry(BINDINGS, key, bytes(VALUE)), SnoopyError);
  assert.throws(() => decodeChange(new Uint8Array(CHANGE.size - 1), 0), SnoopyError);
  assert.throws(() => decodeChange(new Uint8Array(CHANGE.size), 0), SnoopyError, 'kind 0');
});
